"""What a replay is to read, found before anything is made: where its range begins and ends, and that it can be done.

Arrives: what was asked for. Leaves: a `Replay` that nobody has noted yet, or `Refused`, which says why not.
"""

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from msgspec.structs import asdict, replace

from broker.scan import Offsets, Scanner, scanner
from pipeline.settings import Settings
from replay.errors import Refused
from replay.export_line import read_lines
from replay.scope import Scope, Where
from replay.source import FILE_PARTITIONS, source_of
from replay.state import NO_OVERRIDES, Overrides, Replay, Status
from store.client import Store
from topics.control import Project
from topics.names import LINKS, RAW, STITCHED, WORKER_GROUP

# Clocks differ, and a record may wait for Kafka: what was received in the range stands no further from it.
SLACK_MS: Final = 600_000
# An ingress publishes an event within this time of its receipt, or answers that it could not.
IN_FLIGHT_MS: Final = 6_000

_ROOM: Final = 1.2
# Of a record: its id, when it was received, and a share of who owns its anonymous id.
_JOURNAL_BYTES: Final = 64
_LEAST_JOURNAL_BYTES: Final = 1_000_000
_OF_PROJECT: Final = (
    "policy",
    "implicit_links",
    "public_user_edges",
    "max_users_per_anonymous_id",
    "max_users_per_person",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Messages received from `from_ms` on and before `to_ms`, of one project or of all, from Kafka or these files."""

    from_ms: int
    to_ms: int
    project_id: str | None = None
    overrides: Overrides = NO_OVERRIDES
    sources: tuple[str, ...] = ()


def replay_of(settings: Settings, asked: Asked, projects: Iterable[Project], now_ms: int) -> Replay:
    """With all but where it begins and ends. Raises Refused."""
    _check_range(asked, now_ms)
    overrides = asked.overrides
    return Replay(
        id=uuid4().hex[:8],
        project_id=asked.project_id,
        from_ms=asked.from_ms,
        to_ms=asked.to_ms,
        created_at_ms=now_ms,
        dedupe_window_s=overrides.dedupe_window_s or settings.dedupe_window_s,
        max_event_bytes=overrides.max_event_bytes or settings.max_event_bytes,
        overrides=overrides,
        projects=tuple(_overridden(project, asked) for project in projects),
        sources=asked.sources,
    )


def check_others(replay: Replay, others: Sequence[Replay]) -> Replay | None:
    """The one among the others that is the same work and to be gone on with. Raises Refused where one stands in the
    way."""
    for other in others:
        if not replay.overlaps(other) or other.status is Status.SWAPPED:
            continue
        if other.is_same_work(replay) and other.status in (Status.FILLING, Status.RUNNING):
            _check_rules(other, replay)
            return other
        whose = "all projects" if other.project_id is None else other.project_id
        raise Refused(
            f"replay {other.id} of {whose} is {other.status}: `whipstitch replay swap` or `whipstitch replay abort` "
            "comes first, or repeat the command that began it"
        )
    return None


async def placed(settings: Settings, replay: Replay) -> Replay:
    """With where it begins and ends. Raises Refused where that cannot be read, or where live has not come as far as to
    its beginning; or BrokerError."""
    async with scanner(settings) as scan:
        await _check_stored(scan, replay)
    if not replay.sources:
        return await _offsets(settings, replay)
    lines = await asyncio.to_thread(lambda: sum(1 for _ in read_lines([*map(Path, replay.sources)])))
    partitions = range(FILE_PARTITIONS)
    return replace(replay, starts=dict.fromkeys(partitions, 0), ends=dict.fromkeys(partitions, lines))


async def check_holds_any(settings: Settings, replay: Replay) -> None:
    """Raises Refused where there is no record of the range, or BrokerError."""
    scope, source = Scope.of(replay), source_of(settings, replay)
    begun = {p: start for p, start in replay.starts.items() if start < replay.ends[p]}
    async with aclosing(source.read(begun, replay.ends)) as batches:
        async for batch in batches:
            if any(scope.where(record) is Where.WITHIN for record in batch.records):
                return
    where = ", ".join(replay.sources) or RAW
    of = "" if replay.project_id is None else f" of {replay.project_id}"
    raise Refused(f"{where} holds nothing{of} received from {_told(replay.from_ms)} to {_told(replay.to_ms)}")


def check_room(store: Store, settings: Settings, replay: Replay) -> None:
    """Raises Refused where the store's disk or ours cannot hold a second generation; or StoreError."""
    records = sum(replay.ends[partition] - start for partition, start in replay.starts.items())
    journals = _LEAST_JOURNAL_BYTES + records * _JOURNAL_BYTES
    free = _free(settings.data)
    if free < journals:
        raise Refused(
            f"{settings.data} has {_mb(free)} left, and a replay may need {_mb(journals)}; free some disk space there"
        )
    [sizes] = store.query(
        "SELECT sum(bytes_on_disk) AS needed FROM system.parts WHERE active AND database = currentDatabase()"
    )
    [disk] = store.query("SELECT max(free_space) AS free FROM system.disks")
    needed = int(sizes["needed"] * _ROOM)
    if disk["free"] < needed:
        raise Refused(
            f"the store has {_mb(disk['free'])} left, and a replay may need {_mb(needed)}; free some disk space on it"
        )


def _check_range(asked: Asked, now_ms: int) -> None:
    if asked.from_ms >= asked.to_ms:
        raise Refused(f"--to {_told(asked.to_ms)} must be after --from {_told(asked.from_ms)}")
    if asked.to_ms > now_ms:
        raise Refused(f"--to {_told(asked.to_ms)} is still to come; it is {_told(now_ms)}")


def _check_rules(begun: Replay, wanted: Replay) -> None:
    """What is begun is decided by one set of rules to its end."""
    changed = sorted(each.id for each in set(wanted.in_scope()) ^ set(begun.in_scope()))
    changed += [
        name for name in ("dedupe_window_s", "max_event_bytes") if getattr(begun, name) != getattr(wanted, name)
    ]
    if changed:
        raise Refused(
            f"replay {begun.id} was begun under other settings ({', '.join(dict.fromkeys(changed))}): end it with "
            "`whipstitch replay abort`, and start it again"
        )


def _overridden(project: Project, asked: Asked) -> Project:
    if asked.project_id not in (None, project.id):
        return project
    given = asdict(asked.overrides)
    return replace(project, **{name: given[name] for name in _OF_PROJECT if given[name] is not None})


async def _offsets(settings: Settings, replay: Replay) -> Replay:
    async with scanner(settings) as scan:
        starts = await scan.offsets_at(RAW, replay.from_ms - SLACK_MS)
        await _check_kept(scan, replay, starts)
        ends = await scan.offsets_at(RAW, replay.to_ms + SLACK_MS)
    return replace(replay, starts=dict(starts), ends={p: max(end, starts[p]) for p, end in ends.items()})


async def _check_stored(scan: Scanner, replay: Replay) -> None:
    """What the rules are to know from before the range is read from the store, so it must have come there."""
    behind = 0
    for topic in (RAW, STITCHED, LINKS):
        before = await scan.offsets_at(topic, replay.from_ms - SLACK_MS)
        done = await scan.committed(WORKER_GROUP, topic)
        behind += sum(max(0, before[partition] - at) for partition, at in done.items())
    if behind:
        raise Refused(
            f"{behind:,} records from before {_told(replay.from_ms)} are not stored yet, and what comes after rests on "
            "them: see that a worker runs (`whipstitch doctor`), and repeat the command once it has caught up"
        )


async def _check_kept(scan: Scanner, replay: Replay, starts: Offsets) -> None:
    """Where retention has taken records, the first that is left must be older than the range."""
    kept, ends = await scan.starts(RAW), await scan.ends(RAW)
    cut = {p: start for p, start in kept.items() if 0 < start == starts[p] < ends[p]}
    firsts = {p: start + 1 for p, start in cut.items()}
    times = [record.timestamp async for records in scan.read(RAW, cut, firsts) for record in records]
    if max(times, default=0) > replay.from_ms:
        raise Refused(
            f"{RAW} reaches back to {_told(max(times))} only; choose a later --from, or give an export of the time "
            "before with --source"
        )


def _told(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").replace(".000000Z", "Z")


def _free(folder: Path) -> int:
    """Bytes that are left on the disk of a folder, also of one that is still to be made."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
