-- Every question "may this customer use n more?" with its answer. Written in blocks shortly after the
-- answers; until then they are in a file of the data folder, so a killed process loses none.
CREATE TABLE entitlement_checks (
    check_id         String,
    asked_at         DateTime64(6, 'UTC'),
    asked_by         LowCardinality(String),
    subject          String,
    contract_id      String,
    customer_id      String,
    meter_id         LowCardinality(String),
    quantity         Decimal(38, 12),
    allowed          Bool,
    reason           LowCardinality(String),
    decided_by       String,
    used             Nullable(Decimal(38, 12)),
    limit            Nullable(Decimal(38, 12)),
    remaining        Nullable(Decimal(38, 12)),
    as_of_sequence   UInt64,
    answered_micros  UInt64
) ENGINE = MergeTree ORDER BY (asked_at, check_id)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;
