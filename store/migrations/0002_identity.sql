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

-- What a message says counts once, as it was first received: a later message of the same id, about whichever
-- anonymous id, is a repeat and makes no fact. (A first message that made no fact is not looked for: it would take a
-- join with all events, and the worker drops such a repeat unless it comes after the window or about another id.)
CREATE OR REPLACE VIEW identity_facts AS
SELECT project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at, anonymous_person_id, user_person_id
FROM
(
    SELECT
        project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at,
        anonymous_person_id, user_person_id,
        min(received_at) OVER (PARTITION BY project_id, message_id) AS first_received_at
    FROM identity_links_stored FINAL
)
WHERE received_at = first_received_at;

CREATE OR REPLACE VIEW identity_links AS
SELECT project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at
FROM identity_facts;

-- One row an anonymous id: how many users it has had, and the user where it has had one alone and was never reset.
-- More than 10 users: a shared device, whose anonymous events stay anonymous.
CREATE OR REPLACE VIEW anonymous_ids AS
SELECT
    project_id,
    anonymous_id,
    anonymous_person_id,
    uniqExact(user_id) AS users,
    users > 10 AS is_shared,
    users = 1 AND countIf(kind = 'reset') = 0 AS has_sole_owner,
    if(has_sole_owner, any(user_id), NULL) AS sole_user_id,
    if(has_sole_owner, any(user_person_id), NULL) AS sole_person_id
FROM identity_facts
GROUP BY project_id, anonymous_id, anonymous_person_id;

-- Who owns a contested anonymous id from when on. From a point with a user on, it is that user; from a RESET on, it is
-- the user of the next point (nobody, where that is a RESET too or there is none). Before the first point is like after
-- a RESET, so a RESET at the beginning of time is put before it, and one rule is enough.
-- A row an instant: `steps` are the (message_id, user, person) at it, in order, and first who owned it just before.
CREATE OR REPLACE VIEW anonymous_id_owners AS
WITH contested AS
(
    SELECT anonymous_person_id FROM anonymous_ids WHERE users > 0 AND NOT has_sole_owner AND NOT is_shared
),
points AS
(
    SELECT anonymous_person_id, timestamp, message_id, (user_id, user_person_id) AS owner
    FROM identity_facts
    WHERE anonymous_person_id IN (SELECT anonymous_person_id FROM contested)
    UNION ALL
    SELECT anonymous_person_id, toDateTime64('1900-01-01 00:00:00', 3, 'UTC'), '', (NULL, NULL)
    FROM contested
),
owned AS
(
    SELECT
        anonymous_person_id, timestamp, message_id,
        if(owner.1 IS NULL, leadInFrame(owner) OVER in_order, owner) AS from_here,
        if((lagInFrame(owner) OVER in_order).1 IS NULL, owner, lagInFrame(owner) OVER in_order) AS until_here
    FROM points
    WINDOW in_order AS (
        PARTITION BY anonymous_person_id ORDER BY timestamp, message_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    anonymous_person_id,
    timestamp AS since,
    arrayConcat(
        [('', argMin(until_here, message_id))],
        arraySort(step -> step.1, groupArray((message_id, from_here)))
    ) AS steps
FROM owned
GROUP BY anonymous_person_id, timestamp;

-- Who did each event, from all that is known now. An event's own user wins: its own_person_id is that user's, which no
-- link has, so both joins pass it by. Most anonymous ids have one owner and need the cheap join only.
CREATE OR REPLACE VIEW events_resolved_v AS
WITH if(
    owners.since = e.timestamp,
    arrayLast(step -> step.1 <= e.message_id, owners.steps),
    owners.steps[-1]
).2 AS owner
SELECT
    e.project_id AS project_id, e.message_id AS message_id, e.type AS type, e.event_name AS event_name,
    e.anonymous_id AS anonymous_id, e.user_id AS user_id, e.stitched_user_id AS stitched_user_id,
    e.session_id AS session_id, e.timestamp AS timestamp, e.original_timestamp AS original_timestamp,
    e.sent_at AS sent_at, e.received_at AS received_at, e.properties AS properties, e.traits AS traits,
    e.context AS context, e.integrations AS integrations, e.library AS library, e.warnings AS warnings, e.raw AS raw,
    coalesce(sole.sole_person_id, owner.2, e.own_person_id) AS person_id,
    coalesce(e.user_id, sole.sole_user_id, owner.1) AS resolved_user_id
FROM
(
    SELECT *, own_person_id FROM events_stored FINAL
) AS e
ANY LEFT JOIN
(
    SELECT anonymous_person_id, sole_user_id, sole_person_id FROM anonymous_ids WHERE has_sole_owner
) AS sole ON e.own_person_id = sole.anonymous_person_id
ASOF LEFT JOIN anonymous_id_owners AS owners
    ON e.own_person_id = owners.anonymous_person_id AND e.timestamp >= owners.since;
