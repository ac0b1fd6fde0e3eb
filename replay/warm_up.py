"""What records of a range are decided by that was said before it: ids to be known as repeats, and owners.

Arrives: the live store. Leaves: the state that a worker would have at the range's beginning, for some partitions.
Nothing of it is written anywhere. Every function raises StoreError.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

from pipeline.dedupe import SeenIds, seen_id
from pipeline.identity import NOBODY, with_facts
from pipeline.owner_rows import decode, encode
from pipeline.receipts import Receipts
from pipeline.reserved import ALIAS
from pipeline.rules import Rules
from pipeline.validate import SYNTHETIC_PREFIX
from replay.shadow import instant
from replay.state import Replay
from store.client import Store
from store.tables import EVENTS, LINKS, REJECTED
from topics.keys import anonymous_key, partition_of
from topics.links import LinkFact, LinkKind
from topics.names import STITCHED

_ROWS_AT_ONCE: Final = 200_000
_EVERYWHERE: Final = -1

# The partition of a message's record by its key (topics.keys). The key of one whose id was made up is not told by its
# row: such an id counts in every partition.
_PARTITION: Final = f"""multiIf(
    startsWith(ifNull(anonymous_id, ''), '{SYNTHETIC_PREFIX}'), {_EVERYWHERE},
    toInt32(kafkaMurmurHash(concat(project_id, multiIf(
        ifNull(anonymous_id, '') != '', concat('|a:', anonymous_id),
        ifNull(user_id, '') != '', concat('|u:', user_id),
        concat('|m:', message_id)
    ))) % {{count:UInt32}}))"""
_MINE: Final = f"partition IN {{partitions:Array(Int32)}} OR partition = {_EVERYWHERE}"

_OF_PROJECT: Final = "({project:String} = '' OR project_id = {project:String})"


class WarmUp:
    """For these of `count` partitions. What is read at once is bounded."""

    def __init__(self, live: Store, replay: Replay, partitions: Collection[int], count: int) -> None:
        self._live = live
        self._replay = replay
        self._partitions = partitions
        self._count = count
        began_ms = replay.from_ms - replay.dedupe_window_s * 1000
        self._params: dict[str, object] = {
            "began": instant(max(0, began_ms)),
            "from": instant(replay.from_ms),
            "project": replay.project_id or "",
            "count": count,
            "partitions": sorted(partitions),
        }

    def seen(self) -> dict[int, SeenIds]:
        """By partition, the ids of events received less than a window before the range."""
        seen = {partition: SeenIds(self._replay.dedupe_window_s) for partition in self._partitions}
        for rows in self._sliced(_SEEN, "cityHash64(message_id)"):
            mine: dict[int, tuple[list[bytes], list[float]]] = {partition: ([], []) for partition in seen}
            for row in rows:
                this_id, at = seen_id(row["project_id"], row["message_id"]), row["at_ms"] / 1000
                for partition in seen if row["partition"] == _EVERYWHERE else (row["partition"],):
                    mine[partition][0].append(this_id)
                    mine[partition][1].append(at)
            for partition, (ids, received_at) in mine.items():
                seen[partition].remember_all(Receipts.of(ids, received_at))
        return seen

    def owners(self, rules: Rules) -> dict[int, dict[bytes, bytes]]:
        """By partition, the rows of the identity table that the facts received before the range make."""
        owners: dict[int, dict[bytes, bytes]] = {partition: {} for partition in self._partitions}
        for rows in self._sliced(_FACTS, "cityHash64(anonymous_id)"):
            for fact in map(_fact, rows):
                key = anonymous_key(fact.project_id, fact.anonymous_id)
                table = owners[partition_of(key, self._count)]
                before = decode(table[key]) if key in table else NOBODY
                table[key] = encode(with_facts(before, [fact], rules.of(fact.project_id).max_users))
        return owners

    def _sliced(self, sql: str, by: str) -> Iterator[list[dict[str, Any]]]:
        """The rows of a query, in some slices by a hash."""
        count = int(self._live.query(f"SELECT count() AS n FROM ({sql})", self._params)[0]["n"])
        slices = count // _ROWS_AT_ONCE + 1
        for at in range(slices):
            yield self._live.query(f"SELECT * FROM ({sql}) WHERE {by} % {slices} = {at}", self._params)


# What the store refused was claimed as well: its row waits among the dead letters to be tried again.
_SEEN: Final = f"""
SELECT project_id, message_id, {_PARTITION} AS partition, toUnixTimestamp64Milli(received_at) AS at_ms
FROM {EVENTS}
WHERE received_at >= {{began:DateTime64(3, 'UTC')}} AND received_at < {{from:DateTime64(3, 'UTC')}}
    AND ({_MINE}) AND {_OF_PROJECT}
UNION ALL
SELECT project_id, assumeNotNull(message_id) AS message_id, {_PARTITION} AS partition,
    toUnixTimestamp64Milli(assumeNotNull(received_at)) AS at_ms
FROM {REJECTED}
WHERE step = 'sink' AND source_topic = '{STITCHED}' AND message_id IS NOT NULL
    AND received_at >= {{began:DateTime64(3, 'UTC')}} AND received_at < {{from:DateTime64(3, 'UTC')}}
    AND ({_MINE}) AND {_OF_PROJECT}
"""

# A partition keeps what a message says of its own anonymous id. An alias also says something of another id.
_FACTS: Final = f"""
SELECT project_id, anonymous_id, user_id, toUnixTimestamp64Milli(timestamp) AS timestamp_ms, message_id, kind,
    toUnixTimestamp64Milli(received_at) AS at_ms
FROM {LINKS} FINAL
WHERE received_at < {{from:DateTime64(3, 'UTC')}}
    AND kafkaMurmurHash(concat(project_id, '|a:', anonymous_id)) % {{count:UInt32}} IN {{partitions:Array(Int32)}}
    AND (project_id, message_id, anonymous_id) NOT IN (
        SELECT project_id, message_id, link.anonymous_id
        FROM {LINKS} AS link
        INNER JOIN (
            SELECT project_id, message_id, anonymous_id FROM {EVENTS} WHERE event_name = '{ALIAS}' AND {_OF_PROJECT}
        ) AS event USING (project_id, message_id)
        WHERE ifNull(event.anonymous_id, '') != link.anonymous_id
    )
    AND {_OF_PROJECT}
"""


def _fact(row: dict[str, Any]) -> LinkFact:
    return LinkFact(
        project_id=row["project_id"],
        anonymous_id=row["anonymous_id"],
        user_id=row["user_id"],
        timestamp=row["timestamp_ms"] / 1000,
        message_id=row["message_id"],
        kind=LinkKind(row["kind"]),
        received_at=row["at_ms"] / 1000,
    )
