-- 0001_ingest_events.sql

CREATE TABLE IF NOT EXISTS events_local ON CLUSTER 'main' (
    source      LowCardinality(String),
    id          String CODEC(ZSTD(1)),
    type        LowCardinality(String),
    subject     LowCardinality(String),
    time        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    value       Nullable(Decimal(38, 12)) CODEC(ZSTD(1)),
    properties  Map(LowCardinality(String), LowCardinality(String)),
    identity    FixedString(16) CODEC(NONE),
    body_hash   UInt64 CODEC(NONE),
    sequence    UInt64 CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    batch_id    LowCardinality(String)
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/events', '{replica}') ORDER BY (type, subject, time, sequence)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS events ON CLUSTER 'main' AS events_local ENGINE = Distributed('main', 'ratemill', 'events_local', cityHash64(subject));

CREATE TABLE IF NOT EXISTS refused_events_local ON CLUSTER 'main' (
    batch_id    String,
    line        UInt64,
    outcome     LowCardinality(String),
    reason_code LowCardinality(String),
    field       LowCardinality(String),
    message     String,
    expected    String,
    record      String CODEC(ZSTD(1)),
    refused_at  DateTime64(6, 'UTC')
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/refused_events', '{replica}') ORDER BY (refused_at, batch_id, line)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS refused_events ON CLUSTER 'main' AS refused_events_local ENGINE = Distributed('main', 'ratemill', 'refused_events_local', cityHash64(batch_id));

CREATE TABLE IF NOT EXISTS store_facts_local ON CLUSTER 'main' (
    name  String,
    value String
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/store_facts', '{replica}') ORDER BY name
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS store_facts ON CLUSTER 'main' AS store_facts_local ENGINE = Distributed('main', 'ratemill', 'store_facts_local', toUInt64(0));

-- 0002_rating_rated_lines.sql

CREATE TABLE IF NOT EXISTS rated_lines_local ON CLUSTER 'main' (
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
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/ratemill/rated_lines', '{replica}') ORDER BY (contract_id, billing_date, charge_id, line_id)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0003_rollup_usage_rollups.sql

CREATE TABLE IF NOT EXISTS usage_rollups_local ON CLUSTER 'main' (
    rollup_id       UInt64 CODEC(Delta, LZ4),
    meter_number    UInt32,
    dimensions      Array(String),
    event_count     SimpleAggregateFunction(sum, UInt64),
    number_count    SimpleAggregateFunction(sum, UInt64),
    total           SimpleAggregateFunction(sum, Decimal(38, 12)),
    highest         SimpleAggregateFunction(max, Nullable(Decimal(38, 12))),
    lowest          SimpleAggregateFunction(min, Nullable(Decimal(38, 12))),
    latest          SimpleAggregateFunction(max, Tuple(time DateTime64(6, 'UTC'), sequence UInt64, value Decimal(38, 12))),
    distinct_values SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    sequence_max    SimpleAggregateFunction(max, UInt64)
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/ratemill/usage_rollups', '{replica}') ORDER BY (rollup_id, meter_number, dimensions)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS usage_rollups ON CLUSTER 'main' AS usage_rollups_local ENGINE = Distributed('main', 'ratemill', 'usage_rollups_local', toUInt64(0));

CREATE TABLE IF NOT EXISTS rollup_periods_local ON CLUSTER 'main' (
    period_start DateTime64(6, 'UTC'),
    period_end   DateTime64(6, 'UTC'),
    subject      LowCardinality(String),
    rollup_id    UInt64
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/ratemill/rollup_periods', '{replica}', rollup_id) ORDER BY (period_start, period_end, subject)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS rollup_periods ON CLUSTER 'main' AS rollup_periods_local ENGINE = Distributed('main', 'ratemill', 'rollup_periods_local', toUInt64(0));

CREATE TABLE IF NOT EXISTS rollup_meters_local ON CLUSTER 'main' (
    meter_id     String,
    meter_number UInt32,
    document     String
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/rollup_meters', '{replica}') ORDER BY meter_id
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS rollup_meters ON CLUSTER 'main' AS rollup_meters_local ENGINE = Distributed('main', 'ratemill', 'rollup_meters_local', toUInt64(0));

ALTER TABLE events_local ON CLUSTER 'main' ADD INDEX IF NOT EXISTS sequence_range sequence TYPE minmax GRANULARITY 1;

CREATE OR REPLACE TABLE events ON CLUSTER 'main' AS events_local ENGINE = Distributed('main', 'ratemill', 'events_local', cityHash64(subject));

-- 0004_rating_rated_lines_lz4.sql

ALTER TABLE rated_lines_local ON CLUSTER 'main' MODIFY COLUMN quantity Decimal(38, 12) CODEC(LZ4),
    MODIFY COLUMN rated_quantity Decimal(38, 12) CODEC(LZ4),
    MODIFY COLUMN tier_units Array(Decimal(38, 12)) CODEC(LZ4),
    MODIFY COLUMN tier_amount Array(Decimal(38, 12)) CODEC(LZ4),
    MODIFY COLUMN amount Decimal(38, 12) CODEC(LZ4);

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0010_rating_agreements.sql

ALTER TABLE rated_lines_local ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS agreement LowCardinality(String) DEFAULT '';

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0011_rating_discounts.sql

ALTER TABLE rated_lines_local ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS discount_number Array(UInt16);

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

ALTER TABLE rated_lines_local ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS discount_amount Array(Decimal(38, 12)) CODEC(ZSTD(1));

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0020_ingest_corrections.sql

ALTER TABLE events_local ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS replaces UInt64 DEFAULT 0 CODEC(ZSTD(1));

CREATE OR REPLACE TABLE events ON CLUSTER 'main' AS events_local ENGINE = Distributed('main', 'ratemill', 'events_local', cityHash64(subject));

CREATE TABLE IF NOT EXISTS superseded_events_local ON CLUSTER 'main' (
    type                LowCardinality(String),
    subject             LowCardinality(String),
    time                DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    sequence            UInt64 CODEC(Delta, ZSTD(1)),
    source              LowCardinality(String),
    event_id            String CODEC(ZSTD(1)),
    event_identity      FixedString(16) CODEC(NONE),
    kind                LowCardinality(String),
    reason              String CODEC(ZSTD(1)),
    correction_id       String CODEC(ZSTD(1)),
    correction_identity FixedString(16) CODEC(NONE),
    body_hash           UInt64 CODEC(NONE),
    correction_sequence UInt64 CODEC(Delta, ZSTD(1)),
    replacement_time    Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    corrected_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    batch_id            LowCardinality(String)
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/superseded_events', '{replica}') ORDER BY (type, subject, time, sequence)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS superseded_events ON CLUSTER 'main' AS superseded_events_local ENGINE = Distributed('main', 'ratemill', 'superseded_events_local', cityHash64(subject));

-- 0021_ingest_settled_refusals.sql

CREATE TABLE IF NOT EXISTS settled_refusals_local ON CLUSTER 'main' (
    batch_id   String,
    line       UInt64,
    state      LowCardinality(String),
    reason     String,
    source     String,
    id         String,
    settled_at DateTime64(6, 'UTC')
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/settled_refusals', '{replica}') ORDER BY (batch_id, line, settled_at)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS settled_refusals ON CLUSTER 'main' AS settled_refusals_local ENGINE = Distributed('main', 'ratemill', 'settled_refusals_local', cityHash64(batch_id));

-- 0022_cheaper_writes.sql

ALTER TABLE events_local ON CLUSTER 'main' MODIFY SETTING merge_selector_base = 10;

CREATE OR REPLACE TABLE events ON CLUSTER 'main' AS events_local ENGINE = Distributed('main', 'ratemill', 'events_local', cityHash64(subject));

ALTER TABLE rated_lines_local ON CLUSTER 'main' MODIFY SETTING merge_selector_base = 10;

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

ALTER TABLE usage_rollups_local ON CLUSTER 'main' MODIFY SETTING merge_selector_base = 10;

CREATE OR REPLACE TABLE usage_rollups ON CLUSTER 'main' AS usage_rollups_local ENGINE = Distributed('main', 'ratemill', 'usage_rollups_local', toUInt64(0));

ALTER TABLE events_local ON CLUSTER 'main' MODIFY COLUMN properties Map(String, String);

CREATE OR REPLACE TABLE events ON CLUSTER 'main' AS events_local ENGINE = Distributed('main', 'ratemill', 'events_local', cityHash64(subject));

ALTER TABLE rated_lines_local ON CLUSTER 'main' MODIFY SETTING min_bytes_for_wide_part = 268435456;

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

ALTER TABLE rated_lines_local ON CLUSTER 'main' MODIFY COLUMN line_id FixedString(16) CODEC(NONE);

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0030_entitlement_checks.sql

CREATE TABLE IF NOT EXISTS entitlement_checks_local ON CLUSTER 'main' (
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
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/entitlement_checks', '{replica}') ORDER BY (asked_at, check_id)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS entitlement_checks ON CLUSTER 'main' AS entitlement_checks_local ENGINE = Distributed('main', 'ratemill', 'entitlement_checks_local', cityHash64(check_id));

-- 0031_ingest_backfills.sql

CREATE TABLE IF NOT EXISTS backfills_local ON CLUSTER 'main' (
    backfill_id   String,
    batch_id      String,
    type          LowCardinality(String),
    subjects      Array(String),
    time_from     DateTime64(6, 'UTC'),
    time_to       DateTime64(6, 'UTC'),
    reason        String,
    undoes        String,
    digest        String,
    kept          UInt64,
    amended       UInt64,
    added         UInt64,
    withdrawn     UInt64,
    count_before  UInt64,
    count_after   UInt64,
    value_before  Decimal(38, 12),
    value_after   Decimal(38, 12),
    made_at       DateTime64(6, 'UTC')
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/backfills', '{replica}') ORDER BY (backfill_id, made_at)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS backfills ON CLUSTER 'main' AS backfills_local ENGINE = Distributed('main', 'ratemill', 'backfills_local', cityHash64(backfill_id));

-- 0032_ingest_archives.sql

CREATE TABLE IF NOT EXISTS archives_local ON CLUSTER 'main' (
    archive_id    String,
    step          UInt32,
    state         LowCardinality(String),
    folder        String,
    time_before   DateTime64(6, 'UTC'),
    types         Array(String),
    event_count   UInt64,
    manifest_hash String,
    made_at       DateTime64(6, 'UTC')
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/archives', '{replica}') ORDER BY (archive_id, step)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS archives ON CLUSTER 'main' AS archives_local ENGINE = Distributed('main', 'ratemill', 'archives_local', toUInt64(0));

CREATE TABLE IF NOT EXISTS archived_events_local ON CLUSTER 'main' (
    archive_id String,
    identity   FixedString(16) CODEC(NONE),
    body_hash  UInt64 CODEC(NONE),
    sequence   UInt64 CODEC(Delta, ZSTD(1))
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/archived_events', '{replica}') ORDER BY (archive_id, sequence)
SETTINGS replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS archived_events ON CLUSTER 'main' AS archived_events_local ENGINE = Distributed('main', 'ratemill', 'archived_events_local', sequence);

-- 0040_rating_line_inputs.sql

ALTER TABLE rated_lines_local ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS inputs Map(String, Decimal(38, 12));

CREATE OR REPLACE TABLE rated_lines ON CLUSTER 'main' AS rated_lines_local ENGINE = Distributed('main', 'ratemill', 'rated_lines_local', cityHash64(contract_id));

-- 0050_invoicing_journal_postings.sql

CREATE TABLE IF NOT EXISTS journal_postings_local ON CLUSTER 'main' (
    entry_number   UInt64,
    position       UInt32,
    entry_date     Date32,
    posted_at      DateTime64(6, 'UTC'),
    kind           LowCardinality(String),
    account        LowCardinality(String),
    part           LowCardinality(String),
    customer_id    String,
    contract_id    String,
    charge_id      LowCardinality(String),
    currency       LowCardinality(String),
    document_id    String,
    payment_id     String,
    amount_minor   Int64
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/ratemill/journal_postings', '{replica}') ORDER BY (account, customer_id, entry_date, entry_number, position)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS journal_postings ON CLUSTER 'main' AS journal_postings_local ENGINE = Distributed('main', 'ratemill', 'journal_postings_local', toUInt64(0));

-- 0070_ingest_event_identities.sql

CREATE TABLE IF NOT EXISTS event_identities_local ON CLUSTER 'main' (
    identity  FixedString(16) CODEC(NONE),
    body_hash UInt64 CODEC(NONE),
    sequence  UInt64 CODEC(NONE)
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/ratemill/event_identities', '{replica}') ORDER BY identity
SETTINGS replicated_deduplication_window = 0, index_granularity = 256, min_compress_block_size = 8192;

CREATE TABLE IF NOT EXISTS event_identities ON CLUSTER 'main' AS event_identities_local ENGINE = Distributed('main', 'ratemill', 'event_identities_local', cityHash64(identity));

-- 0080_invoicing_revenue_parts.sql

CREATE TABLE IF NOT EXISTS revenue_parts_local ON CLUSTER 'main' (
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
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/ratemill/revenue_parts', '{replica}') ORDER BY (customer_id, last_day, entry_number, position)
SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS revenue_parts ON CLUSTER 'main' AS revenue_parts_local ENGINE = Distributed('main', 'ratemill', 'revenue_parts_local', toUInt64(0));
