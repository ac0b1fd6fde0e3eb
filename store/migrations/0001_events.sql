-- Events as the sink inserts them. A repeat of a message is hidden by the view `events`, not refused here.
--
-- Sort key: only what a client's retry keeps. Partitions: by receipt, so that old months can be dropped; a repeat that
--   came months later is hidden all the same.
-- precedence: larger the earlier the receipt (44 bits of milliseconds, counted down), then by a hash of the body
--   (20 bits), so that of several rows the same one wins on every replica and every replay.
-- own_person_id: the person of the event taken alone, as pipeline/person.py computes it. Kept, because it is what
--   events and links are joined by: 16 bytes instead of two texts.
--   UUIDv5 is SHA-1 with six bits overwritten; the two long numbers are that mask and those bits.
-- properties_text and the like: for native inserts, which carry JSON as text.
-- integrations: text, because it is small and seldom asked, and each JSON column makes inserts dearer.
-- bloom filters: one person's events out of 10M rows in 0.27 s instead of 1.2 s; 1.2 bytes a row.
-- min_bytes_for_wide_part: a wide part has several files for each JSON path; inserts need not make them.
CREATE TABLE IF NOT EXISTS events_stored
(
    project_id LowCardinality(String),
    message_id String,
    type LowCardinality(String),
    event_name LowCardinality(Nullable(String)),
    anonymous_id Nullable(String),
    user_id Nullable(String),
    stitched_user_id Nullable(String),
    session_id Nullable(String),
    timestamp DateTime64(3, 'UTC'),
    original_timestamp Nullable(DateTime64(3, 'UTC')),
    sent_at Nullable(DateTime64(3, 'UTC')),
    received_at DateTime64(3, 'UTC'),
    properties JSON(max_dynamic_paths = 256) DEFAULT if(empty(properties_text), '{}', properties_text),
    traits JSON(max_dynamic_paths = 256) DEFAULT if(empty(traits_text), '{}', traits_text),
    context JSON(max_dynamic_paths = 256) DEFAULT if(empty(context_text), '{}', context_text),
    integrations String DEFAULT '{}',
    library LowCardinality(Nullable(String)),
    warnings Array(LowCardinality(String)),
    raw String CODEC(ZSTD(1)),
    properties_text String EPHEMERAL,
    traits_text String EPHEMERAL,
    context_text String EPHEMERAL,
    precedence UInt64 MATERIALIZED bitOr(
        bitShiftLeft(toUInt64(greatest(0, 17592186044415 - toUnixTimestamp64Milli(received_at))), 20),
        bitAnd(cityHash64(raw), 1048575)
    ),
    project_namespace FixedString(16) ALIAS reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(unhex('9f5c1e0a7d6b4c83a2e14b7f60d3c958'), project_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )),
    own_person_id UUID MATERIALIZED toUUID(UUIDNumToString(reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(
            project_namespace,
            coalesce('u:' || user_id, 'a:' || anonymous_id, 'm:' || message_id)
        ))), toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )))),
    INDEX by_anonymous_id anonymous_id TYPE bloom_filter(0.01),
    INDEX by_user_id user_id TYPE bloom_filter(0.01)
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, message_id)
SETTINGS non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 268435456;

CREATE OR REPLACE VIEW events AS
SELECT
    project_id, message_id, type, event_name, anonymous_id, user_id, stitched_user_id, session_id,
    timestamp, original_timestamp, sent_at, received_at,
    properties, traits, context, integrations, library, warnings, raw
FROM events_stored FINAL;
