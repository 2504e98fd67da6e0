-- Rated lines, keyed by what they are for, never by when they were computed: computing a line again
-- replaces the row by itself. Read WITH FINAL. Tier arrays run in step: the k-th entries of
-- tier_number, tier_units and tier_amount are one tier row; its bounds and unit price stand in the
-- plan version named on the line.
CREATE TABLE rated_lines (
    line_id       FixedString(16),
    run_id        LowCardinality(String),
    contract_id   String,
    plan_id       LowCardinality(String),
    plan_version  UInt32,
    charge_id     LowCardinality(String),
    charge_kind   LowCardinality(String),
    price_model   LowCardinality(String),
    meter_id      LowCardinality(String),
    unit          LowCardinality(String),
    billing_date  Date32,
    period_start  DateTime64(6, 'UTC'),
    period_end    DateTime64(6, 'UTC'),
    days          Int32,
    full_days     Int32,
    dimensions    Map(LowCardinality(String), LowCardinality(String)),
    quantity      Decimal(38, 12) CODEC(ZSTD(1)),
    rated_quantity Decimal(38, 12) CODEC(ZSTD(1)),
    event_count   UInt64,
    tier_number   Array(UInt16),
    tier_units    Array(Decimal(38, 12)) CODEC(ZSTD(1)),
    tier_amount   Array(Decimal(38, 12)) CODEC(ZSTD(1)),
    amount        Decimal(38, 12) CODEC(ZSTD(1)),
    amount_minor  Int64,
    currency      LowCardinality(String),
    input_hash    FixedString(16) CODEC(NONE)
) ENGINE = ReplacingMergeTree ORDER BY (contract_id, billing_date, charge_id, line_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
