-- What a backfill replaced: one row each, written before its rows of superseded_events (same batch_id),
-- which are the one step that puts it in force. A row without those never came into force. undoes: the
-- backfill that this one puts back.
CREATE TABLE backfills (
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
) ENGINE = MergeTree ORDER BY (backfill_id, made_at)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;
