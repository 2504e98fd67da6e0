-- Who is on record, ordered by identity, for the gate with bounded memory: derived from events, archived_events and
-- superseded_events, compared with them whenever the gate is opened, and so without a sync of its own. Small granules
-- and small compressed pieces, because it is asked for single identities; nothing of a hash compresses.
CREATE TABLE event_identities (
    identity  FixedString(16) CODEC(NONE),
    body_hash UInt64 CODEC(NONE),
    sequence  UInt64 CODEC(NONE)
) ENGINE = MergeTree ORDER BY identity
SETTINGS index_granularity = 256, min_compress_block_size = 8192;
