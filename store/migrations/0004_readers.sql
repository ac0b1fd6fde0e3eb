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
