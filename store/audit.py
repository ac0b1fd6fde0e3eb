"""What the audit asks of the store: which messages it has, as events or as dead letters, by slices of receipt time.

A message that is both an event and a dead letter counts as the event; one whose dead letter was dropped is known by
the note of that. Dead letters that stand for no message of their own are left out: a tie refused of an event that is
kept (step `link`), and a row of another table that the store refused. One without a message id goes by the place of
its record.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from pipeline.audit import Message, Slice, Standing, Tally, Window
from store.client import Store
from store.dead_letters import DROPPED
from store.tables import REJECTED
from topics.names import RAW, STITCHED

_HASH = "substring(SHA256(concat(project_id, '\\0', id)), 1, 16)"
_LETTERS = f"(step != 'link' AND source_topic IN ('{RAW}', '{STITCHED}'))"
# A letter's reading of a record that has no stamp is not to be trusted: the record's place stands for it.
_LETTER_ID = (
    "if(reason = 'no_stamp' OR message_id IS NULL, "
    "concat('\\0', toString(source_partition), ':', toString(source_offset)), assumeNotNull(message_id))"
)
_LETTER_AT = "assumeNotNull(coalesce(received_at, rejected_at))"
# A message may have several standings: max() takes that which counts, see pipeline.audit.Standing.
_LETTER_STANDING = f"if(step = '{DROPPED}', 'dropped', 'rejected')"
_OF_WINDOW = "at >= {since:DateTime64(3, 'UTC')} AND at < {until:DateTime64(3, 'UTC')}"
# Parameters travel in the URL, which servers and proxies take so long at least.
_PORTION_BYTES = 16_000


class StoredMessage(NamedTuple):
    digest: bytes
    message: Message
    standing: Standing


class InStore(NamedTuple):
    """What the whole store says of one message: how it stands, rows of the view `events`, and the first receipt."""

    standing: Standing
    rows: int
    first_at_ms: int


def tallies(store: Store, window: Window) -> dict[Slice, Tally]:
    """By slice of receipt time, as many rows as hold messages in the window."""
    ms = window.slice_ms
    rows = store.query(
        f"SELECT project_id, intDiv(toUnixTimestamp64Milli(at), {ms}) * {ms} AS start_ms, count() AS messages, "
        "countIf(standing = 'rejected') AS rejected, countIf(standing = 'dropped') AS dropped, "
        f"toString(sum(reinterpretAsUInt128({_HASH}))) AS hash_sum "
        f"FROM ({_messages(window, [])}) GROUP BY project_id, start_ms",
        _params(window),
    )
    return {
        Slice(row["project_id"], row["start_ms"]): Tally(
            row["messages"], int(row["hash_sum"]), row["rejected"], row["dropped"]
        )
        for row in rows
    }


def messages(
    store: Store, window: Window, ranges: Sequence[tuple[int, int]], first: int, before: int
) -> Iterator[StoredMessage]:
    """Messages of these stretches of time whose hash begins with a byte from `first` on and before `before`."""
    rows = store.query(
        f"SELECT hex({_HASH}) AS digest, project_id, id, toUnixTimestamp64Milli(at) AS at_ms, standing "
        f"FROM ({_messages(window, ranges)}) WHERE reinterpretAsUInt8({_HASH}) >= {first} "
        f"AND reinterpretAsUInt8({_HASH}) < {before}",
        _params(window),
    )
    for row in rows:
        message = Message(row["project_id"], row["id"], row["at_ms"])
        yield StoredMessage(bytes.fromhex(row["digest"]), message, row["standing"])


def lookup(store: Store, project_id: str, ids: Iterable[str]) -> dict[str, InStore]:
    """What the store has of these messages of a project, whenever they were received."""
    found: dict[str, InStore] = {}
    for some in _in_portions(ids):
        places = [id_[1:] for id_ in some if id_.startswith("\0")]
        rows = store.query(_LOOKUP, {"project": project_id, "ids": some})
        rows += store.query(_LOOKUP_PLACES, {"places": places}) if places else []
        found |= {row["id"]: InStore(row["standing"], row["rows"], row["first_at_ms"]) for row in rows}
    return found


_LOOKUP = f"""
SELECT
    id, countIf(found_as = 'stored') AS rows, max(found_as) AS standing,
    min(toUnixTimestamp64Milli(at)) AS first_at_ms
FROM
(
    SELECT message_id AS id, received_at AS at, 'stored' AS found_as FROM events
    WHERE project_id = {{project:String}} AND message_id IN {{ids:Array(String)}}
    UNION ALL
    SELECT assumeNotNull(message_id) AS id, {_LETTER_AT} AS at, {_LETTER_STANDING} AS found_as
    FROM {REJECTED} FINAL
    WHERE {_LETTERS} AND project_id = {{project:String}} AND message_id IN {{ids:Array(String)}}
        AND reason != 'no_stamp'
)
GROUP BY id
"""
_LOOKUP_PLACES = f"""
SELECT {_LETTER_ID} AS id, 0 AS rows, max({_LETTER_STANDING}) AS standing,
    min(toUnixTimestamp64Milli({_LETTER_AT})) AS first_at_ms
FROM {REJECTED} FINAL
WHERE {_LETTERS} AND concat(toString(source_partition), ':', toString(source_offset)) IN {{places:Array(String)}}
    AND (reason = 'no_stamp' OR message_id IS NULL)
GROUP BY id
"""


def _in_portions(ids: Iterable[str]) -> Iterator[list[str]]:
    portion, size = [], 0
    for id_ in ids:
        portion.append(id_)
        size += len(quote(id_, errors="surrogatepass")) + len("%27%27%2C")
        if size >= _PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _messages(window: Window, ranges: Sequence[tuple[int, int]]) -> str:
    """All messages of the window, or of these stretches of it."""
    within = " OR ".join(f"at >= {_instant(start)} AND at < {_instant(end)}" for start, end in ranges)
    where = " AND ".join(
        [
            _OF_WINDOW,
            *(["project_id = {project:String}"] if window.project_id is not None else []),
            *([f"({within})"] if within else []),
        ]
    )
    letters = f"SELECT project_id, {_LETTER_ID} AS id, {_LETTER_AT} AS at, {_LETTER_STANDING} AS standing"
    letters += f" FROM {REJECTED} FINAL WHERE {_LETTERS} AND {where}"
    return f"""
    SELECT project_id, message_id AS id, received_at AS at, 'stored' AS standing FROM events WHERE {where}
    UNION ALL
    SELECT project_id, id, min(at) AS at, max(standing) AS standing FROM ({letters})
    WHERE (project_id, id) NOT IN (
        SELECT project_id, message_id FROM events_stored
        WHERE (project_id, message_id) IN (SELECT project_id, id FROM ({letters}))
    )
    GROUP BY project_id, id"""


def _params(window: Window) -> dict[str, object]:
    given: dict[str, object] = {"since": _moment(window.from_ms), "until": _moment(window.to_ms)}
    return given if window.project_id is None else {**given, "project": window.project_id}


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _instant(at_ms: int) -> str:
    return f"fromUnixTimestamp64Milli({at_ms}, 'UTC')"
