-- The journal's lines as the ledger has them, for analysts: one row a line, with its entry. Copied in the order of
-- entry numbers, a whole entry in one block; `ratemill journal mirror` compares the two.
CREATE TABLE journal_postings (
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
) ENGINE = ReplacingMergeTree ORDER BY (account, customer_id, entry_date, entry_number, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
