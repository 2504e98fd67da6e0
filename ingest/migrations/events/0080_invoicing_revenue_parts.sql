-- From which day on a row of revenue in the journal is of: one row a part of it that lies over several days, made of
-- documents when a report by day is asked for. One with amount_minor 0 says through which entry all are there.
-- through_minor: what of it is revenue by the end of each day, where that is not straight line.
CREATE TABLE revenue_parts (
    entry_number   UInt64,
    position       UInt32,
    first_day      Date32,
    last_day       Date32,
    billed_on      Date32,
    posted_at      DateTime64(6, 'UTC'),
    customer_id    String,
    contract_id    String,
    charge_id      LowCardinality(String),
    currency       LowCardinality(String),
    amount_minor   Int64,
    through_minor  Array(Int64)
) ENGINE = ReplacingMergeTree ORDER BY (customer_id, last_day, entry_number, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
