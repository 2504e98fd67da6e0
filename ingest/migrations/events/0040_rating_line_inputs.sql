-- What a line was computed from beside its quantity, by name: the meters of a formula, the quantity that came
-- before it in the year, the total of its pool. Empty on nearly all lines.
ALTER TABLE rated_lines ADD COLUMN IF NOT EXISTS inputs Map(String, Decimal(38, 12));
