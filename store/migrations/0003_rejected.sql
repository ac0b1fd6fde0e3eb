-- Dead letters: what was refused, why, and all that is needed to put it back. The columns of an event hold what could
-- be read of it; `raw`, `record_key` and the headers' values are the record's own bytes, UTF-8 or not.
CREATE TABLE IF NOT EXISTS rejected_events_stored
(
    project_id LowCardinality(String),
    message_id Nullable(String),
    type LowCardinality(Nullable(String)),
    event_name Nullable(String),
    anonymous_id Nullable(String),
    user_id Nullable(String),
    stitched_user_id Nullable(String),
    session_id Nullable(String),
    timestamp Nullable(DateTime64(3, 'UTC')),
    original_timestamp Nullable(DateTime64(3, 'UTC')),
    sent_at Nullable(DateTime64(3, 'UTC')),
    received_at Nullable(DateTime64(3, 'UTC')),
    properties JSON(max_dynamic_paths = 64),
    traits JSON(max_dynamic_paths = 64),
    context JSON(max_dynamic_paths = 64),
    integrations String DEFAULT '{}',
    library Nullable(String),
    warnings Array(String),
    raw String CODEC(ZSTD(1)),
    reason LowCardinality(String),
    detail String,
    rejected_at DateTime64(3, 'UTC'),
    step LowCardinality(String),
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    record_key String,
    headers Map(String, String),
    properties_text String EPHEMERAL,
    traits_text String EPHEMERAL,
    context_text String EPHEMERAL
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(rejected_at)
ORDER BY (source_topic, source_partition, source_offset, step, reason)
SETTINGS non_replicated_deduplication_window = 1000;
