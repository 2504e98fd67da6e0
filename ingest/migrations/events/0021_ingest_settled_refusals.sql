-- What became of refused records: repaired by an event or correction, or dismissed with a reason. The
-- last row of a refusal is in force; a refusal without one is open.
CREATE TABLE settled_refusals (
    batch_id   String,
    line       UInt64,
    state      LowCardinality(String),
    reason     String,
    source     String,
    id         String,
    settled_at DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY (batch_id, line, settled_at)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;
