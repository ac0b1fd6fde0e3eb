"""What a replay is and how far it is. It is kept in the replay's own database, so nothing is left of it once that is
dropped: the list of replays is the list of those databases.

Every function raises StoreError, and is safe to repeat.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from pipeline.rules import Rules
from replay.errors import Refused
from store.address import address_of
from store.client import Store
from store.columns import quoted
from store.errors import UNKNOWN_DATABASE, UNKNOWN_TABLE, StoreFailure
from topics.control import Policy, Project

PROGRESS: Final = "replay_progress"

_STATE: Final = "replay_state"
_TABLES: Final = (
    f"CREATE TABLE IF NOT EXISTS {_STATE} (version UInt64, state String) "
    "ENGINE = ReplacingMergeTree(version) ORDER BY tuple()",
    f"CREATE TABLE IF NOT EXISTS {PROGRESS} (partition Int32, start Int64, position Int64, end Int64, events UInt64, "
    "links UInt64, edges UInt64, rejected UInt64, duplicates UInt64, outside UInt64, per_s Float64, "
    "updated_at_ms UInt64) ENGINE = ReplacingMergeTree(updated_at_ms) ORDER BY partition",
)


class Status(StrEnum):
    """`filling` and `running` go on by `replay start`; what comes after `finished` is the swap's."""

    FILLING = "filling"  # rows outside the range are copied
    RUNNING = "running"  # records are decided again
    FINISHED = "finished"
    SWAPPING = "swapping"  # some tables are exchanged, some not
    SWAPPING_BACK = "swapping_back"  # the same, the other way round
    SWAPPED = "swapped"  # its database holds the tables that were live


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """Settings that are others for this replay; None is as they are. Names as in `Settings` and `Project`."""

    policy: Policy | None = None
    dedupe_window_s: int | None = None
    max_event_bytes: int | None = None
    implicit_links: bool | None = None
    public_user_edges: bool | None = None
    max_users_per_anonymous_id: int | None = None
    max_users_per_person: int | None = None


NO_OVERRIDES: Final = Overrides()


class Replay(msgspec.Struct, frozen=True):
    """Messages received from `from_ms` on and before `to_ms` (Unix milliseconds), of one project or of all.

    `sources` are the files of an export, or empty where `events.raw` is read, then from `starts` on and before `ends`
    (partition: offset); with files these are numbers of lines. `projects` are all there were when it began, with the
    overrides. Live rows that came into the store before `filled_at_ms` are in the shadow tables already. `missing`
    messages are live and not in what was read any more. `live_uuids` and `shadow_uuids` are the tables' own
    (table: UUID) as they were before they were exchanged.
    """

    id: str
    project_id: str | None
    from_ms: int
    to_ms: int
    created_at_ms: int
    dedupe_window_s: int
    max_event_bytes: int
    overrides: Overrides = NO_OVERRIDES
    projects: tuple[Project, ...] = ()
    sources: tuple[str, ...] = ()
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    status: Status = Status.FILLING
    filled_at_ms: int = 0
    missing: int = 0
    live_uuids: dict[str, str] = {}
    shadow_uuids: dict[str, str] = {}

    def is_same_work(self, other: "Replay") -> bool:
        """Whether both were asked for the same."""
        return self._asked_for() == other._asked_for()

    def _asked_for(self) -> tuple[object, ...]:
        return self.project_id, self.from_ms, self.to_ms, self.overrides, self.sources

    def rules(self) -> Rules:
        """What its records are decided by."""
        return Rules(self.projects, max_event_bytes=self.max_event_bytes)

    def in_scope(self) -> tuple[Project, ...]:
        """The projects that it is of."""
        return tuple(project for project in self.projects if self.project_id in (None, project.id))

    def overlaps(self, other: "Replay") -> bool:
        """Whether both are of a common project."""
        return self.project_id is None or other.project_id is None or self.project_id == other.project_id


class Progress(msgspec.Struct, frozen=True):
    """One partition: `position` is the offset that is next. `outside` are records that were read and are not of the
    range or not of the project; the other counts are what the rest came to. `per_s` is how many were read lately."""

    partition: int
    start: int
    position: int
    end: int
    events: int = 0
    links: int = 0
    edges: int = 0
    rejected: int = 0
    duplicates: int = 0
    outside: int = 0
    per_s: float = 0.0
    updated_at_ms: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Replay).decode


def database_prefix(store_url: str) -> str:
    return f"{address_of(store_url).database}_replay_"


def create_tables(shadow: Store) -> None:
    for sql in _TABLES:
        shadow.command(sql)


def write(shadow: Store, replay: Replay) -> None:
    """What is written last counts. One process writes at a time: who holds the replay's folder, or swaps it."""
    shadow.command(
        f"INSERT INTO {_STATE} SELECT max(version) + 1, {{state:String}} FROM {_STATE}",
        {"state": _encode(replay).decode()},
    )


def read(shadow: Store) -> Replay:
    """The replay of this database, which must be there."""
    return _decode(shadow.query(f"SELECT state FROM {_STATE} ORDER BY version DESC LIMIT 1")[0]["state"])


def still(shadow: Store, *statuses: Status) -> Replay:
    """The replay of this database as it is by now, for who holds its folder. Raises Refused where another process has
    brought it to another status since it was chosen."""
    replay = read(shadow)
    if replay.status not in statuses:
        raise Refused(f"replay {replay.id} is {replay.status} by now: see `whipstitch replay status`")
    return replay


def replays(store: Store, store_url: str) -> list[Replay]:
    """All replays there are beside this live store, the oldest first."""
    found = []
    for replay_id in replay_ids(store, store_url):
        table = f"{quoted(database_prefix(store_url) + replay_id)}.{_STATE}"
        try:
            rows = store.query(f"SELECT state FROM {table} ORDER BY version DESC LIMIT 1")
        except StoreFailure as error:
            if error.code not in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
                raise
            continue  # it is being made, or being dropped
        found += [_decode(row["state"]) for row in rows]
    return sorted(found, key=lambda replay: (replay.created_at_ms, replay.id))


def chosen(found: Sequence[Replay], replay_id: str | None) -> Replay:
    """The replay of this id, or the only one there is. Raises Refused where that says none."""
    named = [replay for replay in found if replay_id in (None, replay.id)]
    if len(named) == 1:
        return named[0]
    there_are = ", ".join(replay.id for replay in found) or "none"
    if replay_id is None and found:
        raise Refused(f"there are several replays: say which one; there are: {there_are}")
    wanted = "" if replay_id is None else f" {replay_id}"
    raise Refused(f"there is no replay{wanted}; there are: {there_are}; `whipstitch replay start` begins one")


def replay_ids(store: Store, store_url: str) -> list[str]:
    """Also those of databases in which nothing stands yet, as a start that was killed leaves them."""
    prefix = database_prefix(store_url)
    sql = "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String}) ORDER BY name"
    return [str(row["name"]).removeprefix(prefix) for row in store.query(sql, {"prefix": prefix})]


def write_progress(shadow: Store, progress: Iterable[Progress]) -> None:
    rows = [_encode_progress(each) for each in progress]
    if rows:
        shadow.insert(PROGRESS, rows, token_of(rows))


def read_progress(shadow: Store) -> list[Progress]:
    """By partition, those that were begun."""
    rows = shadow.query(f"SELECT * FROM {PROGRESS} FINAL ORDER BY partition")
    return [msgspec.convert(row, Progress) for row in rows]


def totals(progress: Iterable[Progress]) -> Mapping[str, int]:
    """The sums of all counts, and of `done` and `total` records."""
    sums = dict.fromkeys(("done", "total", *COUNTS), 0)
    for each in progress:
        sums["done"] += each.position - each.start
        sums["total"] += each.end - each.start
        for name in COUNTS:
            sums[name] += getattr(each, name)
    return sums


COUNTS: Final = ("events", "links", "edges", "rejected", "duplicates", "outside")
_encode_progress = msgspec.json.Encoder().encode


def token_of(rows: Iterable[bytes]) -> str:
    """An insert's token for rows that only this insert has."""
    return blake2b(b"\n".join(rows), digest_size=16).hexdigest()
