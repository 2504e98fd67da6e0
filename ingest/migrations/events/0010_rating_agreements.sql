-- Which agreement a line was priced by: the key of a row of the ledger's ``agreements``, empty for the
-- plan as it is. Lines written before there were agreements are of the plan as it is.
ALTER TABLE rated_lines ADD COLUMN IF NOT EXISTS agreement LowCardinality(String) DEFAULT '';
