-- Events that were moved to files. One row a step of an archive; the last step is its state. archived: the
-- switch, its events count as gone and are being deleted; removed: they are; restoring: they are coming
-- back; restored: they are all there, and the archive is in effect no more.
CREATE TABLE archives (
    archive_id    String,
    step          UInt32,
    state         LowCardinality(String),
    folder        String,
    time_before   DateTime64(6, 'UTC'),
    types         Array(String),
    event_count   UInt64,
    manifest_hash String,
    made_at       DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY (archive_id, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Who the archived events are, for ever: a resend of one is still a duplicate. Rows of an archive that has
-- no row above were left behind by a crash and mean nothing.
CREATE TABLE archived_events (
    archive_id String,
    identity   FixedString(16) CODEC(NONE),
    body_hash  UInt64 CODEC(NONE),
    sequence   UInt64 CODEC(Delta, ZSTD(1))
) ENGINE = MergeTree ORDER BY (archive_id, sequence)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;
