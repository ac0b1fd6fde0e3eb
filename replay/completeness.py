"""Is every message that live has of a range also in the replay, as an event or as a dead letter?

Where clocks jump, or a dead letter was put back, records of the range lie far behind the others. What the live store
has tells that there are some.
"""

from typing import Final

from replay.shadow import inside, parameters
from replay.state import Replay
from store.client import Store
from store.columns import quoted
from store.dead_letters import DROPPED
from store.tables import EVENTS, REJECTED

_ROWS_AT_ONCE: Final = 2_000_000
_HASH: Final = "cityHash64(project_id, assumeNotNull(message_id))"


def any_live(live: Store, replay: Replay) -> bool:
    """Whether live has any message of the range. Raises StoreError."""
    return any(
        live.query(f"SELECT 1 FROM {table} WHERE {inside(replay, table)} LIMIT 1", parameters(replay))
        for table in (EVENTS, REJECTED)
    )


def missing(live: Store, shadow_database: str, replay: Replay) -> int:
    """How many messages live has that the replay has not. Raises StoreError."""
    own = quoted(shadow_database)
    [row] = live.query(f"SELECT count() AS rows FROM {own}.{EVENTS}")
    slices = int(row["rows"]) // _ROWS_AT_ONCE + 1
    return sum(
        int(live.query(_missing(own, replay, f"hash % {slices} = {at}"), parameters(replay))[0]["missing"])
        for at in range(slices)
    )


def _missing(own: str, replay: Replay, of_slice: str) -> str:
    letters = f"message_id IS NOT NULL AND step != '{DROPPED}'"
    return f"""
    SELECT uniqExact(hash) AS missing
    FROM
    (
        SELECT message_hash AS hash FROM {EVENTS} WHERE {inside(replay, EVENTS)} AND {of_slice}
        UNION ALL
        SELECT {_HASH} AS hash FROM {REJECTED} WHERE {inside(replay, REJECTED)} AND {letters} AND {of_slice}
    )
    WHERE hash NOT IN
    (
        SELECT message_hash AS hash FROM {own}.{EVENTS} WHERE {of_slice}
        UNION ALL
        SELECT {_HASH} AS hash FROM {own}.{REJECTED} WHERE {letters} AND {of_slice}
    )"""
