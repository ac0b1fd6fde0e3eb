-- Facts that tie two users, or part them. One message makes one fact; of several the earliest receipt counts.
CREATE TABLE IF NOT EXISTS identity_edges_stored
(
    project_id LowCardinality(String),
    kind LowCardinality(String),
    action LowCardinality(String),
    from_user_id String,
    to_user_id String,
    timestamp DateTime64(3, 'UTC'),
    message_id String,
    received_at DateTime64(3, 'UTC'),
    precedence UInt64 MATERIALIZED bitOr(
        bitShiftLeft(toUInt64(greatest(0, 17592186044415 - toUnixTimestamp64Milli(received_at))), 20),
        bitAnd(cityHash64(kind, action, from_user_id, to_user_id, timestamp), 1048575)
    )
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (project_id, message_id)
SETTINGS non_replicated_deduplication_window = 1000;

-- Which users are one person, by the moment of receipt since when that is known. The merge agent computes it.
CREATE TABLE IF NOT EXISTS identity_persons_stored
(
    project_id LowCardinality(String),
    user_id String,
    since DateTime64(3, 'UTC'),
    canonical_user_id String,
    standing LowCardinality(String),
    message_id String,
    version UInt64,
    project_namespace FixedString(16) ALIAS reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(unhex('9f5c1e0a7d6b4c83a2e14b7f60d3c958'), project_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )),
    user_person_id UUID MATERIALIZED toUUID(UUIDNumToString(reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(project_namespace, 'u:', user_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    )))),
    canonical_person_id UUID MATERIALIZED toUUID(UUIDNumToString(reinterpretAsFixedString(bitOr(
        bitAnd(reinterpretAsUInt128(SHA1(concat(project_namespace, 'u:', canonical_user_id))),
               toUInt128('340282366920938459921532191285123743743')),
        toUInt128('2361205759432959459328')
    ))))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project_id, user_id, since)
SETTINGS non_replicated_deduplication_window = 1000;

-- What of a project's settings the views need. A project without a row has the defaults.
CREATE TABLE IF NOT EXISTS projects_stored
(
    project_id String,
    policy LowCardinality(String),
    max_users_per_anonymous_id UInt32,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY project_id
SETTINGS non_replicated_deduplication_window = 1000;

-- message_hash: a message's name in eight bytes, so that messages that came several times are found in a seventh of
--   the time that their names would take. What it finds is compared by the names.
-- squashed_…: who did the event by the links alone, as `whipstitch squash` wrote it, and by which terms (view
--   squash_terms); 0 where it did not.
-- squash: 1 for the facts that all squashed events were computed from; else the run that is on its way, 0 before any.
ALTER TABLE events_stored
    ADD COLUMN IF NOT EXISTS message_hash UInt64 MATERIALIZED cityHash64(project_id, message_id),
    ADD COLUMN IF NOT EXISTS squashed_terms UInt64,
    ADD COLUMN IF NOT EXISTS squashed_user_id Nullable(String),
    ADD COLUMN IF NOT EXISTS squashed_person_id UUID;
ALTER TABLE identity_links_stored
    ADD COLUMN IF NOT EXISTS message_hash UInt64 MATERIALIZED cityHash64(project_id, message_id),
    ADD COLUMN IF NOT EXISTS squash UInt64;
ALTER TABLE events_stored MATERIALIZE COLUMN message_hash;
ALTER TABLE identity_links_stored MATERIALIZE COLUMN message_hash;

-- Which projects are squashed, and events received before when. A larger epoch makes all that was squashed void.
CREATE TABLE IF NOT EXISTS squashes_stored
(
    project_id String,
    before SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    epoch SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY project_id
SETTINGS non_replicated_deduplication_window = 1000;

-- The views. Each question stands once, in a view `…_as_of` with the parameter `as_of`: it sees what was received until
-- then. The view without a parameter asks it of the last instant that the store can tell.
-- persons_as_of: as of when users are merged, where that is asked apart.

-- Of version 4, and in no other.
DROP VIEW IF EXISTS anonymous_id_owners;

-- Dead letters. One that was dropped leaves a note in the table, by which the audit knows that it was not lost.
CREATE OR REPLACE VIEW rejected_events AS
SELECT
    project_id, message_id, type, event_name, anonymous_id, user_id, stitched_user_id, session_id,
    timestamp, original_timestamp, sent_at, received_at,
    properties, traits, context, integrations, library, warnings, raw,
    reason, detail, rejected_at,
    step, source_topic, source_partition, source_offset, record_key, headers
FROM rejected_events_stored FINAL
WHERE step != 'dropped';

-- Facts that do not count, because their message came before and said something else: of a repeated message only the
-- first receipt counts, also where that one made no fact. They are few, so that a view takes them as one constant,
-- which a query computes once however often it reads the facts.
CREATE OR REPLACE VIEW identity_repeats AS
WITH repeated AS
(
    SELECT message_hash
    FROM
    (
        SELECT message_hash, received_at FROM identity_links_stored
        UNION ALL
        SELECT message_hash, received_at FROM events_stored
        WHERE message_hash IN (SELECT message_hash FROM identity_links_stored)
    )
    GROUP BY message_hash
    HAVING min(received_at) < max(received_at)
),
(SELECT groupArray(message_hash) FROM repeated) AS hashes
SELECT project_id, message_id, fact.received_at AS received_at
FROM identity_links_stored AS fact
INNER JOIN
(
    SELECT project_id, message_id, min(received_at) AS first_received_at
    FROM
    (
        SELECT project_id, message_id, received_at FROM identity_links_stored
        WHERE message_hash IN (SELECT arrayJoin(hashes))
        UNION ALL
        SELECT project_id, message_id, received_at FROM events_stored
        WHERE message_hash IN (SELECT arrayJoin(hashes))
    )
    GROUP BY project_id, message_id
) AS message USING (project_id, message_id)
WHERE fact.received_at > first_received_at;

CREATE OR REPLACE VIEW identity_facts_as_of AS
WITH (SELECT groupUniqArray((project_id, message_id, received_at)) FROM identity_repeats) AS repeats
SELECT project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at, anonymous_person_id, user_person_id
FROM identity_links_stored FINAL
WHERE received_at <= {as_of:DateTime64(3, 'UTC')}
    AND (project_id, message_id, received_at) NOT IN (SELECT arrayJoin(repeats));

CREATE OR REPLACE VIEW identity_facts AS SELECT * FROM identity_facts_as_of(as_of = '2299-12-31 23:59:59.999');

CREATE OR REPLACE VIEW identity_links_as_of AS
SELECT project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at
FROM identity_facts_as_of(as_of = {as_of:DateTime64(3, 'UTC')});

CREATE OR REPLACE VIEW identity_links AS SELECT * FROM identity_links_as_of(as_of = '2299-12-31 23:59:59.999');

-- The person of each user that was ever tied to another; of any other user it is the user alone. `message_id` made it
-- so. A step may say what the one before it says, or that a user is alone whom nothing has tied by then: it was made
-- before facts came that were received earlier. Of what was so already the first step counts, and of nothing none.
CREATE OR REPLACE VIEW identity_persons_as_of AS
SELECT
    project_id,
    user_id,
    argMax(place.canonical_user_id, place.said_last) AS canonical_user_id,
    argMax(place.canonical_person_id, place.said_last) AS person_id,
    argMax(place.standing, place.said_last) AS standing,
    argMax(place.said_first, place.said_last) AS since,
    argMax(place.message_id, place.said_last) AS message_id,
    user_person_id
FROM
(
    SELECT
        project_id, user_id, user_person_id, message_id,
        min(step.since) AS said_first,
        max(step.since) AS said_last,
        argMax(step.canonical_user_id, step.since) AS canonical_user_id,
        argMax(step.canonical_person_id, step.since) AS canonical_person_id,
        argMax(step.standing, step.since) AS standing
    FROM (SELECT *, user_person_id, canonical_person_id FROM identity_persons_stored FINAL) AS step
    WHERE step.since <= {as_of:DateTime64(3, 'UTC')}
    GROUP BY project_id, user_id, user_person_id, message_id
) AS place
GROUP BY project_id, user_id, user_person_id
HAVING message_id != '';

CREATE OR REPLACE VIEW identity_persons AS SELECT * FROM identity_persons_as_of(as_of = '2299-12-31 23:59:59.999');

-- One row an edge that was ever asserted. Of several active aliases of a user the one that was asserted first counts.
CREATE OR REPLACE VIEW identity_edges_as_of AS
WITH edges AS
(
    SELECT
        project_id, kind, from_user_id, to_user_id,
        minIf((timestamp, message_id, received_at), action = 'join') AS first,
        maxIf((timestamp, message_id, received_at), action = 'join') AS last,
        maxIf((timestamp, message_id, received_at), action = 'part') AS part,
        countIf(action = 'part') > 0 AS was_parted,
        NOT was_parted OR last > part AS is_active
    FROM identity_edges_stored FINAL
    WHERE received_at <= {as_of:DateTime64(3, 'UTC')}
    GROUP BY project_id, kind, from_user_id, to_user_id
    HAVING countIf(action = 'join') > 0
)
SELECT
    project_id, kind, from_user_id, to_user_id,
    multiIf(
        NOT is_active, 'parted',
        kind = 'alias' AND first > minIf(first, is_active) OVER (PARTITION BY project_id, kind, from_user_id),
            'conflict',
        (project_id, from_user_id) IN (
            SELECT project_id, user_id FROM identity_persons_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
            WHERE standing = 'suspended'
        ), 'suspended',
        'counts'
    ) AS state,
    first.1 AS first_joined_at, first.2 AS first_join_message_id, first.3 AS first_join_received_at,
    last.1 AS last_joined_at, last.2 AS last_join_message_id, last.3 AS last_join_received_at,
    if(was_parted, part.1, NULL) AS last_parted_at,
    if(was_parted, part.2, NULL) AS last_part_message_id,
    if(was_parted, part.3, NULL) AS last_part_received_at
FROM edges;

CREATE OR REPLACE VIEW identity_edges AS SELECT * FROM identity_edges_as_of(as_of = '2299-12-31 23:59:59.999');

-- What is tied, but not as was asked, and what to do about it. `message_id` made it so.
CREATE OR REPLACE VIEW identity_conflicts AS
SELECT
    project_id, 'conflict' AS problem, from_user_id AS user_id, to_user_id AS other_user_id,
    first_join_message_id AS message_id, first_joined_at AS since,
    'another alias of this user was made earlier, so this one does not count; take one of them back with $unalias'
        AS advice
FROM identity_edges
WHERE state = 'conflict'
UNION ALL
SELECT
    project_id, 'suspended', user_id, NULL, message_id, since,
    'tied to more users than a person may have, so none of its ties counts; take back those that should not be with '
        || '$unalias or $unmerge, or let the project have larger persons (max_users_per_person)'
FROM identity_persons
WHERE standing = 'suspended';

-- One row an anonymous id: how many users it has had, and the user where it has had one alone and was never reset. Of
-- more users than the project allows: a shared device, whose anonymous events stay anonymous.
-- Mixpanel's identify (`first`) counts as the earliest fact with a user, and else not at all.
CREATE OR REPLACE VIEW anonymous_ids_as_of AS
WITH
    (SELECT groupArray(project_id) FROM projects_stored FINAL) AS projects,
    (SELECT groupArray(max_users_per_anonymous_id) FROM projects_stored FINAL) AS limits
SELECT
    project_id,
    anonymous_id,
    anonymous_person_id,
    argMinIf((user_id, user_person_id), (timestamp, message_id), user_id IS NOT NULL) AS first_owner,
    length(arrayDistinct(arrayConcat(
        groupUniqArrayIf(assumeNotNull(user_id), user_id IS NOT NULL AND kind != 'first'),
        if(first_owner.1 IS NULL, [], [assumeNotNull(first_owner.1)])
    ))) AS users,
    countIf(kind = 'reset') AS resets,
    users > transform(project_id, projects, limits, toUInt32(10)) AS is_shared,
    users = 1 AND resets = 0 AS has_sole_owner,
    if(has_sole_owner, first_owner.1, NULL) AS sole_user_id,
    if(has_sole_owner, first_owner.2, NULL) AS sole_person_id
FROM identity_facts_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
GROUP BY project_id, anonymous_id, anonymous_person_id;

CREATE OR REPLACE VIEW anonymous_ids AS
SELECT
    project_id, anonymous_id, anonymous_person_id, users, resets, is_shared, has_sole_owner, sole_user_id,
    sole_person_id
FROM anonymous_ids_as_of(as_of = '2299-12-31 23:59:59.999');

-- Users that are another user's person.
CREATE OR REPLACE VIEW merged_users_as_of AS
SELECT user_person_id, toNullable(canonical_user_id) AS canonical_user_id, toNullable(person_id) AS canonical_person_id
FROM identity_persons_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS person
WHERE user_id != person.canonical_user_id;

-- By which terms a project's squashed events are read the short way: as long as nothing is set otherwise since.
CREATE OR REPLACE VIEW squash_terms AS
WITH
    (SELECT groupArray(project_id) FROM projects_stored FINAL) AS projects,
    (SELECT groupArray((policy, max_users_per_anonymous_id)) FROM projects_stored FINAL) AS settings
SELECT project_id, cityHash64(project_id, epoch, settings[indexOf(projects, project_id)]) AS terms
FROM squashes_stored FINAL;

-- Anonymous ids that a fact tells of which squashed events were not computed from, or that lost one.
CREATE OR REPLACE VIEW squash_touched AS
WITH (SELECT groupUniqArray((project_id, message_id, received_at)) FROM identity_repeats) AS repeats
SELECT anonymous_person_id FROM identity_links_stored WHERE squash != 1
UNION ALL
SELECT anonymous_person_id
FROM identity_links_stored
WHERE (project_id, message_id, received_at) IN (SELECT arrayJoin(repeats));

-- What events are read the long way, by the joins: these ids' owners are all that the joins need to know.
CREATE OR REPLACE VIEW unsquashed_ids AS
SELECT own_person_id FROM events_stored WHERE squashed_terms NOT IN (SELECT terms FROM squash_terms)
UNION ALL
SELECT anonymous_person_id FROM squash_touched;

-- The person of each own_person_id that is not its own: anonymous ids that had one user and no RESET, and merged users.
CREATE OR REPLACE VIEW sole_owners_as_of AS
WITH (SELECT count() > 0 FROM squashes_stored) AND {as_of:DateTime64(3, 'UTC')} = '2299-12-31 23:59:59.999' AS is_short
SELECT
    anonymous_person_id AS own_person_id,
    coalesce(merged.canonical_user_id, sole.user_id) AS user_id,
    coalesce(merged.canonical_person_id, sole.person_id) AS person_id
FROM
(
    SELECT anonymous_person_id, any(fact.user_id) AS user_id, any(user_person_id) AS person_id
    FROM identity_facts_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS fact
    WHERE NOT is_short OR anonymous_person_id IN (SELECT own_person_id FROM unsquashed_ids)
    GROUP BY anonymous_person_id
    HAVING min(user_person_id) = max(user_person_id) AND countIf(kind = 'reset') = 0
) AS sole
ANY LEFT JOIN merged_users_as_of(as_of = {persons_as_of:DateTime64(3, 'UTC')}) AS merged
    ON sole.person_id = merged.user_person_id
UNION ALL
SELECT user_person_id, canonical_user_id, canonical_person_id
FROM merged_users_as_of(as_of = {persons_as_of:DateTime64(3, 'UTC')});

-- Who owns an anonymous id from when on, where that has had several users or was reset. A RESET begins a segment, and
-- so does the beginning of time; no segment sees another's users. Of the events in a segment, by the project's policy,
--   interval: from a point with a user on they are that user's, before the first such point its user's
--   first_wins, last_wins: all are the first or last user's
--   isolate: all are its user's where it has one alone, else nobody's
-- A row an instant: `steps` are the (message_id, owner) at it, in order, and first who owned it just before.
CREATE OR REPLACE VIEW anonymous_id_owners_as_of AS
WITH
    (SELECT groupArray(project_id) FROM projects_stored FINAL) AS projects,
    (SELECT groupArray(policy) FROM projects_stored FINAL) AS policies,
    (SELECT groupArray(max_users_per_anonymous_id) FROM projects_stored FINAL) AS limits,
    (SELECT count() > 0 FROM squashes_stored) AND {as_of:DateTime64(3, 'UTC')} = '2299-12-31 23:59:59.999' AS is_short,
contested AS
(
    SELECT anonymous_person_id
    FROM identity_links_stored
    WHERE NOT is_short OR anonymous_person_id IN (SELECT own_person_id FROM unsquashed_ids)
    GROUP BY anonymous_person_id
    HAVING min(user_person_id) < max(user_person_id) OR countIf(kind = 'reset') > 0
),
facts AS
(
    SELECT
        project_id, anonymous_person_id, timestamp, message_id, kind, user_id,
        (
            coalesce(merged.canonical_user_id, user_id), coalesce(merged.canonical_person_id, fact.user_person_id)
        ) AS owner,
        minIf((timestamp, message_id), user_id IS NOT NULL) OVER (PARTITION BY anonymous_person_id) AS first
    FROM identity_facts_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS fact
    ANY LEFT JOIN merged_users_as_of(as_of = {persons_as_of:DateTime64(3, 'UTC')}) AS merged
        ON fact.user_person_id = merged.user_person_id
    WHERE anonymous_person_id IN contested
),
points AS
(
    SELECT
        *,
        transform(project_id, projects, policies, 'interval') AS policy,
        uniqExact(user_id) OVER (PARTITION BY anonymous_person_id)
            > transform(project_id, projects, limits, toUInt32(10)) AS is_shared,
        countIf(user_id IS NULL) OVER in_order AS segment,
        row_number() OVER in_order AS number
    FROM facts
    WHERE kind != 'first' OR (timestamp, message_id) = first
    WINDOW in_order AS (PARTITION BY anonymous_person_id ORDER BY timestamp, message_id)
),
owned AS
(
    SELECT
        anonymous_person_id, timestamp, message_id, segment, number,
        multiIf(
            policy = 'last_wins', argMaxIf(owner, (timestamp, message_id), user_id IS NOT NULL) OVER in_segment,
            policy != 'isolate' OR uniqExact(user_id) OVER in_segment = 1,
                argMinIf(owner, (timestamp, message_id), user_id IS NOT NULL) OVER in_segment,
            (NULL, NULL)
        ) AS segment_owner,
        if(policy = 'interval' AND user_id IS NOT NULL, owner, segment_owner) AS from_here
    FROM points
    WHERE NOT is_shared
    WINDOW in_segment AS (PARTITION BY anonymous_person_id, segment)
),
changes AS
(
    SELECT
        anonymous_person_id, timestamp, message_id, from_here,
        multiIf(
            number > 1, lagInFrame(from_here) OVER in_order,
            segment = 0, segment_owner,
            (NULL, NULL)
        ) AS until_here,
        arrayJoin(if(number = 1, [toDateTime64('1900-01-01 00:00:00', 3, 'UTC'), timestamp], [timestamp])) AS since
    FROM owned
    WINDOW in_order AS (
        PARTITION BY anonymous_person_id ORDER BY timestamp, message_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    anonymous_person_id,
    since,
    arrayConcat(
        [('', argMin(until_here, message_id))],
        arraySort(step -> step.1, groupArrayIf((message_id, from_here), since = timestamp))
    ) AS steps
FROM changes
GROUP BY anonymous_person_id, since;

-- Who did each event. An event's own user wins: its own_person_id is that user's, which no link has. Most anonymous ids
-- have one owner and need the first join only; it carries merged users too. A squashed event that no later fact touches
-- is already that of its user, or nobody's, so that it needs to know of merged users alone.
CREATE OR REPLACE VIEW events_resolved_as_of AS
WITH
    (SELECT count() > 0 FROM squashes_stored) AND {as_of:DateTime64(3, 'UTC')} = '2299-12-31 23:59:59.999' AS is_short,
if(
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
    coalesce(sole.person_id, owner.2, e.known_person_id) AS person_id,
    coalesce(sole.user_id, owner.1, e.known_user_id) AS resolved_user_id
FROM
(
    SELECT
        *,
        is_short
            AND squashed_terms IN (SELECT terms FROM squash_terms)
            AND own_person_id NOT IN (SELECT anonymous_person_id FROM squash_touched) AS is_squashed,
        if(is_squashed, squashed_person_id, own_person_id) AS known_person_id,
        if(is_squashed, coalesce(user_id, squashed_user_id), user_id) AS known_user_id
    FROM events_stored FINAL
    WHERE received_at <= {as_of:DateTime64(3, 'UTC')}
) AS e
ANY LEFT JOIN sole_owners_as_of(
    as_of = {as_of:DateTime64(3, 'UTC')}, persons_as_of = {as_of:DateTime64(3, 'UTC')}
) AS sole ON e.known_person_id = sole.own_person_id
ASOF LEFT JOIN anonymous_id_owners_as_of(
    as_of = {as_of:DateTime64(3, 'UTC')}, persons_as_of = {as_of:DateTime64(3, 'UTC')}
) AS owners ON e.known_person_id = owners.anonymous_person_id AND e.timestamp >= owners.since;

CREATE OR REPLACE VIEW events_resolved_v AS SELECT * FROM events_resolved_as_of(as_of = '2299-12-31 23:59:59.999');

-- A trait has the value that an identify gave it last. What Mixpanel sets once (`$set_once` in the properties) counts
-- where nothing else was given, the earliest of it; `$unset` takes away all that was given before. A trait that is null
-- says nothing: the column keeps no nulls. What a context calls not `active` was not the person's own doing: it is not
-- when they were seen last. user_id is NULL while they are anonymous.
-- Ids that begin with $blocked: were made up, one for each event that came with none of use.
CREATE OR REPLACE VIEW persons_as_of AS
WITH
(name -> transform(
    name,
    ['$avatar', '$created', '$email', '$first_name', '$last_name', '$name', '$phone', 'created_at', 'first_name',
     'last_name'],
    ['avatar', 'createdAt', 'email', 'firstName', 'lastName', 'name', 'phone', 'createdAt', 'firstName', 'lastName'],
    name
)) AS spelled,
mapUpdate(
    arrayReduce('minMap', arrayMap(
        trait -> map(trait.1, trait.2),
        arrayFilter(trait -> (trait.2.1, trait.2.2) > taken[trait.1], given_once)
    )),
    mapFilter((name, trait) -> (trait.1, trait.2) > taken[name], given)
) AS latest,
told AS
(
    SELECT
        project_id, person_id, resolved_user_id, anonymous_id, user_id, timestamp, message_id,
        ifNull(context.active.:Bool, true) AS is_active,
        type = 'identify' AS is_identify,
        if(is_identify, JSONExtractKeysAndValuesRaw(toJSONString(traits)), []) AS told_traits,
        arrayMap(trait -> trait.1, told_traits) AS names,
        arrayMap(spelled, if(is_identify, JSONExtractKeys(toJSONString(properties.^`$set_once`)), [])) AS names_once,
        arrayMap(spelled, multiIf(
            NOT is_identify, [],
            dynamicType(properties.`$unset`) = 'String', [ifNull(toString(properties.`$unset`), '')],
            JSONExtract(ifNull(toJSONString(properties.`$unset`), ''), 'Array(String)')
        )) AS names_unset
    FROM events_resolved_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
),
persons AS
(
    SELECT
        project_id,
        person_id,
        any(resolved_user_id) AS user_id,
        arraySort(groupUniqArrayIf(anonymous_id, NOT startsWith(anonymous_id, '$blocked:'))) AS anonymous_ids,
        arraySort(groupUniqArray(told.user_id)) AS user_ids,
        maxMap(mapFromArrays(
            arrayFilter(name -> NOT has(names_once, name), names),
            arrayMap(
                trait -> (timestamp, message_id, trait.2),
                arrayFilter(trait -> NOT has(names_once, trait.1), told_traits)
            )
        )) AS given,
        groupArrayArray(arrayMap(
            trait -> (trait.1, (timestamp, message_id, trait.2)),
            arrayFilter(trait -> has(names_once, trait.1), told_traits)
        )) AS given_once,
        maxMap(mapFromArrays(
            arrayFilter(name -> NOT has(names, name), names_unset),
            arrayMap(name -> (timestamp, message_id), arrayFilter(name -> NOT has(names, name), names_unset))
        )) AS taken,
        min(timestamp) AS first_seen,
        greatest(first_seen, maxIf(timestamp, is_active)) AS last_seen,
        count() AS events
    FROM told
    GROUP BY project_id, person_id
)
SELECT
    project_id, person_id, user_id, anonymous_ids, user_ids,
    concat('{', arrayStringConcat(
        arrayMap((name, trait) -> toJSONString(name) || ':' || trait.3, mapKeys(latest), mapValues(latest)), ','
    ), '}')::JSON AS traits,
    first_seen, last_seen, events
FROM persons;

CREATE OR REPLACE VIEW persons_v AS SELECT * FROM persons_as_of(as_of = '2299-12-31 23:59:59.999');
