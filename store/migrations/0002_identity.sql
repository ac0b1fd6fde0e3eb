-- Facts that tie an anonymous id to a user, and resets, which have no user. One message may make several facts, each
-- about another anonymous id. Everything about who did an event is computed from these rows when it is asked.
CREATE TABLE IF NOT EXISTS identity_links_stored
(
    project_id LowCardinality(String),
    anonymous_id String,
    user_id Nullable(String),
    timestamp DateTime64(3, 'UTC'),
    message_id String,
    kind LowCardinality(String),
    received_at DateTime64(3, 'UTC'),
    precedence UInt64 MATERIALIZED bitOr(
        bitShiftLeft(toUInt64(greatest(0, 17592186044415 - toUnixTimestamp64Milli(received_at))), 20),
        bitAnd(cityHash64(ifNull(user_id, ''), kind, timestamp), 1048575)
    ),
    project_namespace FixedString(16) ALIAS reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(unhex('9f5c1e0a7d6b4c83a2e14b7f60d3c958'), project_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )),
    anonymous_person_id UUID MATERIALIZED toUUID(UUIDNumToString(reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(project_namespace, 'a:', anonymous_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )))),
    user_person_id Nullable(UUID) MATERIALIZED toUUID(UUIDNumToString(reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(project_namespace, 'u:', user_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    ))))
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (project_id, message_id, anonymous_id)
SETTINGS non_replicated_deduplication_window = 1000;
