"""The queries of `identity show`. Their parameters: `project`, `id`, `users`, `anonymous_id` (empty where none is asked
for), and `as_of`: they see only what was received until then.

Each begins from the ids that are asked for, never from a view over all events, so that one person among millions costs
what one person is.
"""

from typing import Final

MOST_ANONYMOUS_IDS: Final = 1000
MOST_REFUSED: Final = 100

# Of these users all anonymous ids, or the newest of very many; and the one that was asked for. One constant, so that it
# is computed once however often a query reads it, and the index on events can use it. Never an empty text: the index
# takes it for NULL, which most events have.
ANONYMOUS_IDS: Final = f"""
    (
        SELECT groupArray(anonymous_id) FROM
        (
            SELECT {{anonymous_id:String}} AS anonymous_id WHERE anonymous_id != ''
            UNION ALL
            (
                SELECT anonymous_id FROM identity_links_stored
                WHERE project_id = {{project:String}} AND received_at <= {{as_of:DateTime64(3, 'UTC')}}
                    AND user_id IN {{users:Array(String)}}
                GROUP BY anonymous_id ORDER BY max(timestamp) DESC
                LIMIT {MOST_ANONYMOUS_IDS}
            )
        )
    ) AS ids
"""
IN_IDS: Final = "IN (SELECT arrayJoin(ids))"
# Of a repeated message only the first receipt counts, also where that one made no fact. A run is facts in a row that
# say the same; its first stands for it.
RUNS: Final = f"""
    {ANONYMOUS_IDS},
    messages AS
    (
        SELECT message_id FROM identity_links_stored
        WHERE project_id = {{project:String}} AND anonymous_id {IN_IDS}
    ),
    receipts AS
    (
        SELECT message_id, received_at FROM identity_links_stored
        WHERE project_id = {{project:String}} AND message_id IN messages
        UNION ALL
        SELECT message_id, received_at FROM events_stored
        WHERE project_id = {{project:String}} AND message_id IN messages
    ),
    facts AS
    (
        SELECT
            anonymous_id, user_id, kind, timestamp, message_id, received_at,
            (ifNull(user_id, ''), kind = 'first') AS says,
            lagInFrame(says) OVER in_order AS said,
            row_number() OVER in_order AS number
        FROM identity_links_stored FINAL
        WHERE project_id = {{project:String}} AND received_at <= {{as_of:DateTime64(3, 'UTC')}}
            AND message_id IN messages AND anonymous_id {IN_IDS}
            AND (message_id, received_at) IN (SELECT message_id, min(received_at) FROM receipts GROUP BY message_id)
        WINDOW in_order AS (PARTITION BY anonymous_id ORDER BY timestamp, message_id)
    ),
    runs AS
    (
        SELECT *, countIf(number = 1 OR says != said) OVER in_order AS run
        FROM facts
        WINDOW in_order AS (PARTITION BY anonymous_id ORDER BY timestamp, message_id)
    )
"""
TIES: Final = f"""
WITH {RUNS}
SELECT
    anonymous_id, any(r.user_id) AS user_id, count() AS facts, max(r.timestamp) AS last_at,
    argMin(r.kind, (r.timestamp, r.message_id)) AS kind,
    argMin(r.message_id, (r.timestamp, r.message_id)) AS message_id,
    argMin(r.received_at, (r.timestamp, r.message_id)) AS received_at,
    min(r.timestamp) AS timestamp,
    message_id IN (
        SELECT message_id FROM events_stored
        WHERE project_id = {{project:String}} AND type = 'alias' AND message_id IN (SELECT message_id FROM runs)
    ) AS is_alias
FROM runs AS r GROUP BY anonymous_id, run ORDER BY anonymous_id, run
"""
# Events that say one of the users, and the anonymous ones of the ids: each of these by how many runs lie before it.
DONE: Final = f"""
WITH {RUNS},
of_them AS
(
    SELECT
        user_id, timestamp, message_id,
        if(user_id IS NULL OR e.anonymous_id {IN_IDS}, e.anonymous_id, NULL) AS anonymous_id
    FROM events AS e
    WHERE project_id = {{project:String}} AND received_at <= {{as_of:DateTime64(3, 'UTC')}}
        AND message_id IN (
            SELECT message_id FROM events_stored
            WHERE project_id = {{project:String}} AND (user_id IN {{users:Array(String)}} OR anonymous_id {IN_IDS})
        )
        AND (user_id IN {{users:Array(String)}} OR user_id IS NULL AND e.anonymous_id {IN_IDS})
),
moments AS
(
    SELECT
        user_id, anonymous_id, timestamp, is_event,
        countIf(NOT is_event) OVER (
            PARTITION BY user_id, anonymous_id ORDER BY timestamp, message_id, is_event
        ) AS ties
    FROM
    (
        SELECT user_id, anonymous_id, timestamp, message_id, true AS is_event FROM of_them
        UNION ALL
        SELECT NULL, anonymous_id, min(timestamp), argMin(message_id, (timestamp, message_id)), false
        FROM runs GROUP BY anonymous_id, run
    )
)
SELECT
    user_id, anonymous_id, ties,
    count() AS events, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM moments WHERE is_event GROUP BY user_id, anonymous_id, ties
"""

IS_USER: Final = """
SELECT user_id FROM events_stored
WHERE project_id = {project:String} AND received_at <= {as_of:DateTime64(3, 'UTC')} AND user_id = {id:String}
LIMIT 1
UNION ALL
SELECT user_id FROM identity_persons_stored
WHERE project_id = {project:String} AND since <= {as_of:DateTime64(3, 'UTC')} AND user_id = {id:String}
LIMIT 1
"""
# An alias says of its previous id that it may be an anonymous one: that alone makes it none.
IS_ANONYMOUS_ID: Final = """
SELECT anonymous_id FROM events_stored
WHERE project_id = {project:String} AND received_at <= {as_of:DateTime64(3, 'UTC')} AND anonymous_id = {id:String}
LIMIT 1
"""
HAS_LINKS: Final = """
SELECT anonymous_id FROM identity_links_stored
WHERE project_id = {project:String} AND received_at <= {as_of:DateTime64(3, 'UTC')} AND anonymous_id = {id:String}
LIMIT 1
"""
PROJECT: Final = """
SELECT policy, max_users_per_anonymous_id FROM projects_stored FINAL WHERE project_id = {project:String}
"""
PROJECTS: Final = "SELECT DISTINCT project_id FROM events_stored ORDER BY project_id LIMIT 20"
# The persons of these users, whole: whoever is now called by the same user.
MEMBERSHIPS: Final = """
SELECT user_id, canonical_user_id, standing
FROM identity_persons_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE project_id = {project:String} AND user_id IN (
    SELECT user_id FROM identity_persons_stored
    WHERE project_id = {project:String} AND canonical_user_id IN (
        SELECT canonical_user_id FROM identity_persons_stored
        WHERE project_id = {project:String} AND user_id IN {users:Array(String)}
    )
)
"""
# All that ties these users; and of each alias the others of its user, of which one alone counts.
EDGES: Final = """
SELECT project_id, kind, action, from_user_id, to_user_id, timestamp, message_id, received_at
FROM identity_edges_stored FINAL
WHERE project_id = {project:String} AND received_at <= {as_of:DateTime64(3, 'UTC')}
    AND (
        from_user_id IN {users:Array(String)} OR to_user_id IN {users:Array(String)}
        OR kind = 'alias' AND from_user_id IN (
            SELECT from_user_id FROM identity_edges_stored
            WHERE project_id = {project:String} AND to_user_id IN {users:Array(String)}
        )
    )
ORDER BY timestamp, message_id
"""
# A user may stand in a dead letter's own column, or in what it was to tie.
REFUSED: Final = f"""
SELECT message_id, received_at, reason, detail FROM rejected_events
WHERE project_id = {{project:String}} AND received_at <= {{as_of:DateTime64(3, 'UTC')}} AND step = 'link'
    AND (
        user_id IN {{users:Array(String)}} OR anonymous_id = {{id:String}}
        OR hasAny(JSONExtract(raw, 'properties', '$distinct_ids', 'Array(String)'), {{users:Array(String)}})
        OR JSONExtractString(raw, 'previousId') IN {{users:Array(String)}}
    )
ORDER BY received_at DESC LIMIT {MOST_REFUSED}
"""
