-- The sequence of the row this one replaces; 0 for an event as it was sent. A replacement counts only
-- when superseded_events says so.
ALTER TABLE events ADD COLUMN IF NOT EXISTS replaces UInt64 DEFAULT 0 CODEC(ZSTD(1));

-- One row a correction: which row of events is not in force any more, and why. Writing this row is
-- the one step that puts a correction in force. An amendment's replacement is the row of events
-- whose sequence is correction_sequence, written just before; a cancellation has none.
-- event_* name the event as it was first sent, however often it was corrected since.
CREATE TABLE superseded_events (
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
) ENGINE = MergeTree ORDER BY (type, subject, time, sequence)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1, fsync_part_directory = 1;
