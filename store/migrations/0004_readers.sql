-- A person as of now. A trait has the value that an identify gave it last; user_id is NULL while they are anonymous.
-- Ids that begin with $blocked: were made up, one for each event that came with none of use.
CREATE OR REPLACE VIEW persons_v AS
WITH maxMapIf(
    mapApply(
        (name, value) -> (name, (timestamp, message_id, value)),
        CAST(JSONExtractKeysAndValuesRaw(toJSONString(traits)), 'Map(String, String)')
    ),
    type = 'identify'
) AS latest
SELECT
    project_id,
    person_id,
    any(resolved_user_id) AS user_id,
    arraySort(groupUniqArrayIf(anonymous_id, NOT startsWith(anonymous_id, '$blocked:'))) AS anonymous_ids,
    concat('{', arrayStringConcat(
        arrayMap((name, given) -> toJSONString(name) || ':' || given.3, mapKeys(latest), mapValues(latest)), ','
    ), '}')::JSON AS traits,
    min(timestamp) AS first_seen,
    max(timestamp) AS last_seen,
    count() AS events
FROM events_resolved_v
GROUP BY project_id, person_id;

-- A session as its client named it. Its user is the last that any of its events knew, so the $identify row's too.
CREATE OR REPLACE VIEW sessions_v AS
SELECT
    project_id,
    session_id,
    argMin(anonymous_id, (timestamp, message_id)) AS anonymous_id,
    argMax(user_id, (timestamp, message_id)) AS user_id,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    count() AS events
FROM events
WHERE session_id IS NOT NULL
GROUP BY project_id, session_id;
