-- What discounts took off a line: the k-th entries are one discount, by its number (from 1) among those of
-- the plan version under the line's agreement. ``amount`` is what is left.
ALTER TABLE rated_lines ADD COLUMN IF NOT EXISTS discount_number Array(UInt16);
ALTER TABLE rated_lines ADD COLUMN IF NOT EXISTS discount_amount Array(Decimal(38, 12)) CODEC(ZSTD(1));
