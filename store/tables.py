"""The tables that rows are inserted into, and what an insert asks of the server.

Readers use the views (`events_resolved_v`, `persons_v`, `identity_links`, ...), which show no duplicate.
"""

from typing import Final

EVENTS: Final = "events_stored"
LINKS: Final = "identity_links_stored"
REJECTED: Final = "rejected_events_stored"
EDGES: Final = "identity_edges_stored"
PERSONS: Final = "identity_persons_stored"
PROJECTS: Final = "projects_stored"
SQUASHES: Final = "squashes_stored"

INSERT_SETTINGS: Final = {
    # A confirmed insert is stored: servers since 26.3 would else confirm what they only mean to write.
    "async_insert": 0,
    # Repeats are hidden by reading, so do not look for them while writing: saves a third of an insert's CPU.
    "optimize_on_insert": 0,
    # A text that looks like a date stays a text: `properties.day` is what the client sent.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # {"a": 1, "a": 2} is valid JSON. The first is kept, and the row's `raw` has both.
    "type_json_skip_duplicated_paths": 1,
    # An object or an array for a String column is stored as it was written, byte for byte.
    "input_format_json_read_objects_as_strings": 1,
    "input_format_json_read_arrays_as_strings": 1,
    "input_format_null_as_default": 1,
    # A member that the table has no column for is a row from a newer whipstitch: do not drop it silently.
    "input_format_skip_unknown_fields": 0,
}
