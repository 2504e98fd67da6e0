-- Usage that was already added up: what closing a period reads instead of events. Derived from
-- events; `ratemill rollup verify` counts everything again and compares.
--
-- rollup_id stands for one subject and one period. It is never used again: a period counted anew
-- (after a correction) gets a new one, so rows that a killed refresh left behind are never read.
--
-- Rows of one key add up by themselves when the engine merges them. Each column is filled only for
-- meters that need it. The row with rollup_id 0 says how far events have been added up: it is written in
-- one block with the usage, so it can never be ahead of it or behind.
CREATE TABLE usage_rollups (
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
) ENGINE = AggregatingMergeTree ORDER BY (rollup_id, meter_number, dimensions)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Which subject's periods are kept. The newest rollup_id of a subject and period is the one in force.
CREATE TABLE rollup_periods (
    period_start DateTime64(6, 'UTC'),
    period_end   DateTime64(6, 'UTC'),
    subject      LowCardinality(String),
    rollup_id    UInt64
) ENGINE = ReplacingMergeTree(rollup_id) ORDER BY (period_start, period_end, subject)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The meters that are kept, by the number usage_rollups knows them by, with what they count.
CREATE TABLE rollup_meters (
    meter_id     String,
    meter_number UInt32,
    document     String
) ENGINE = MergeTree ORDER BY meter_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- New events are found by their sequence without reading the old ones.
ALTER TABLE events ADD INDEX IF NOT EXISTS sequence_range sequence TYPE minmax GRANULARITY 1;
