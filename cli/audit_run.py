"""One audit, step by step: what Kafka has, what the store has, and where they differ, message by message.

Arrives: an open store, a window, an empty folder. Leaves: an `Audit`. It changes nothing, holds nobody up and may run
beside everything else: what the workers have not finished, or what comes meanwhile, is told as under way.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.control import load_directory
from broker.scan import Offsets, Scanner, scanner
from pipeline.audit import (
    Found,
    Message,
    Report,
    Slice,
    Tally,
    Window,
    differing,
    message_hash,
    ranges,
    settle_missing,
    settle_unexpected,
)
from pipeline.audit_records import ForgottenIds, Whose, letter_message, raw_message, stitched_message, whose
from pipeline.audit_spill import FILES, Entry, Received
from pipeline.rules import Rules
from pipeline.settings import Settings
from store import audit as stored
from store.client import Store
from topics.names import RAW, REJECTED, STITCHED, WORKER_GROUP
from topics.orders import Forget

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

# Clocks differ, and a record may wait for Kafka: what was received before the window's end stands no further behind it.
_SLACK_MS = 600_000
_MESSAGES_AT_ONCE = 200_000
MOST_LOOKED_INTO = 100_000


@dataclass(frozen=True, slots=True)
class Audit:
    """`window` is what could be audited of the one that was asked for: `events.raw` may reach back less far. Beyond
    MOST_LOOKED_INTO messages of either side that the other lacks, `unexplained` are counted without a closer look."""

    report: Report
    window: Window
    records: int
    unexplained: int


@dataclass(frozen=True, slots=True)
class _Positions:
    """Where to read. `committed` of events.raw was read before the others' `ends`: what lies before it has all its
    outputs before those."""

    starts: Offsets
    ends: Offsets
    committed: Offsets
    outputs: Mapping[str, tuple[Offsets, Offsets]]


@dataclass(slots=True)
class _Suspects:
    """Messages that one side of their slice has alone, by hash."""

    missing: dict[bytes, Message] = field(default_factory=dict)
    unexpected: dict[bytes, Message] = field(default_factory=dict)
    unexplained: int = 0


async def run(settings: Settings, store: Store, window: Window, folder: Path, progress: Progress) -> Audit:
    """Raises BrokerError or StoreError; safe to repeat."""
    async with scanner(settings) as scan:
        # Step 1. The messages that Kafka has, and which of them are under way.
        window = await _kept(scan, window)
        positions = await _positions(scan, window)
        received = Received(folder, window)
        records = await _receive(scan, positions, received, progress)
        # Step 2. Both sides by slices, and the messages of slices that differ.
        kafka = await asyncio.to_thread(received.tallies)
        store_side = await asyncio.to_thread(stored.tallies, store, window)
        report, suspects = await asyncio.to_thread(_compare, store, window, received, kafka, store_side)
        # Step 3. All that can be known of those that one side lacks.
        if suspects.missing or suspects.unexpected:
            await _look_into(scan, settings, store, window, positions, suspects, report, progress)
    return Audit(report, window, records, suspects.unexplained)


async def _kept(scan: Scanner, window: Window) -> Window:
    """The window as far as `events.raw` reaches back."""
    starts, from_ = await scan.starts(RAW), await scan.offsets_at(RAW, window.from_ms)
    ends = await scan.ends(RAW)
    cut = {p: start for p, start in starts.items() if 0 < start == from_[p] < ends[p]}
    firsts = {p: start + 1 for p, start in cut.items()}
    times = [record.timestamp async for batch in scan.read(RAW, cut, firsts) for record in batch]
    return replace(window, from_ms=max([window.from_ms, *times]))


async def _positions(scan: Scanner, window: Window) -> _Positions:
    committed = await scan.committed(WORKER_GROUP, RAW)
    outputs = {
        topic: (await scan.committed(WORKER_GROUP, topic), await scan.ends(topic)) for topic in (STITCHED, REJECTED)
    }
    ends = await scan.offsets_at(RAW, window.to_ms + _SLACK_MS)
    return _Positions(await scan.offsets_at(RAW, window.from_ms), ends, committed, outputs)


async def _receive(scan: Scanner, positions: _Positions, received: Received, progress: Progress) -> int:
    """Take in the messages of events.raw, and those on their way into the store; how many records were read."""
    total = sum(max(0, positions.ends[p] - start) for p, start in positions.starts.items())
    with progress(f"reading {RAW}", total) as advance:
        async for records in scan.read(RAW, positions.starts, positions.ends):
            for record in records:
                message = raw_message(record)
                if isinstance(message, Message):
                    is_under_way = record.offset >= positions.committed[record.partition]
                    received.add(*message, is_under_way=is_under_way)
            advance(len(records))
    for topic, (starts, ends) in positions.outputs.items():
        async for message in _outputs(scan, topic, starts, ends):
            received.add(*message, is_under_way=True)
    received.close()
    return total


async def _outputs(scan: Scanner, topic: str, starts: Offsets, ends: Offsets) -> AsyncIterator[Message]:
    read = stitched_message if topic == STITCHED else letter_message
    async for records in scan.read(topic, starts, ends):
        for record in records:
            if (message := read(record)) is not None:
                yield message


def _compare(
    store: Store, window: Window, received: Received, kafka: Mapping[Slice, Tally], store_side: Mapping[Slice, Tally]
) -> tuple[Report, _Suspects]:
    report, suspects, odd = Report(), _Suspects(), differing(kafka, store_side)
    nothing = Tally()
    for each in (kafka.keys() | store_side.keys()) - odd:
        report.add_equal(each, kafka.get(each, nothing), store_side.get(each, nothing))
    stretches = ranges(odd, window.slice_ms)
    at_once = _files_at_once(stretches, kafka, store_side)
    for first in range(0, FILES, at_once) if odd else ():
        files = range(first, min(FILES, first + at_once))
        in_store = stored.messages(store, window, stretches, files.start, files.stop)
        of_odd = (each for each in in_store if window.slice_of(each.message) in odd)
        in_kafka = ((digest, entry) for file in files for digest, entry in received.entries(file).items())
        _compare_messages(of_odd, (each for each in in_kafka if window.slice_of(each[1]) in odd), report, suspects)
    return report, suspects


def _files_at_once(
    stretches: Sequence[tuple[int, int]], kafka: Mapping[Slice, Tally], store_side: Mapping[Slice, Tally]
) -> int:
    """So many that their messages are not too many for memory."""
    sides = ((each, tally.messages) for side in (kafka, store_side) for each, tally in side.items())
    messages = sum(n for each, n in sides if any(start <= each.start_ms < end for start, end in stretches))
    return max(1, FILES * _MESSAGES_AT_ONCE // max(1, messages))


def _compare_messages(
    in_store: Iterable[stored.StoredMessage],
    in_kafka: Iterable[tuple[bytes, Entry]],
    report: Report,
    suspects: _Suspects,
) -> None:
    there: dict[bytes, stored.StoredMessage] = {}
    for each in in_store:
        if each.digest in there:
            suspects.unexpected[each.digest] = each.message  # the view has it twice
        there[each.digest] = each
    for digest, entry in in_kafka:
        count = report.at(entry.project_id, entry.at_ms)
        count.received += 1
        if (found := there.pop(digest, None)) is not None:
            count.add(found.standing)
        elif entry.is_under_way:
            count.under_way += 1
        elif len(suspects.missing) < MOST_LOOKED_INTO:
            suspects.missing[digest] = Message(entry.project_id, "", entry.at_ms)
        else:
            suspects.unexplained += 1
            count.missing += 1
    for digest, each in there.items():
        if len(suspects.unexpected) < MOST_LOOKED_INTO:
            suspects.unexpected[digest] = each.message
        else:
            suspects.unexplained += 1
            report.at(each.message.project_id, each.message.at_ms).unexpected += 1


@dataclass(slots=True)
class _Seen:
    """What a second reading of Kafka, up to now, has of the suspects, by hash. `at_first` are those that the first
    reading has met too."""

    ids: dict[bytes, str] = field(default_factory=dict)
    at_first: set[bytes] = field(default_factory=set)
    whose: dict[bytes, Whose] = field(default_factory=dict)
    under_way: set[bytes] = field(default_factory=set)


async def _look_into(
    scan: Scanner,
    settings: Settings,
    store: Store,
    window: Window,
    positions: _Positions,
    suspects: _Suspects,
    report: Report,
    progress: Progress,
) -> None:
    forgotten = ForgottenIds((await load_directory(settings)).forgotten.values())
    seen = await _see_again(scan, settings, positions, suspects, forgotten, progress)
    missing = {digest: message._replace(id=seen.ids.get(digest, "")) for digest, message in suspects.missing.items()}
    in_store = await asyncio.to_thread(_lookup, store, [*missing.values(), *suspects.unexpected.values()])

    def found(digest: bytes, message: Message) -> Found:
        there = in_store.get((message.project_id, message.id))
        whose_it_is = seen.whose.get(digest)
        return Found(
            standing=there.standing if there else None,
            rows=there.rows if there else 0,
            first_at_ms=there.first_at_ms if there else None,
            is_in_kafka=digest in seen.ids,
            is_late=digest in seen.ids and digest not in seen.at_first,
            is_under_way=digest in seen.under_way,
            is_forgotten=whose_it_is is not None and forgotten.cover(whose_it_is),
        )

    for digest, message in missing.items():
        settle_missing(report, message, found(digest, message), window)
    for digest, message in suspects.unexpected.items():
        settle_unexpected(report, message, found(digest, message))


async def _see_again(
    scan: Scanner,
    settings: Settings,
    positions: _Positions,
    suspects: _Suspects,
    forgotten: ForgottenIds,
    progress: Progress,
) -> _Seen:
    """Read on from the window's beginning to the present end: what came late, again, or while the audit ran."""
    seen, rules = _Seen(), Rules((), max_event_bytes=settings.max_event_bytes)
    ends = await scan.ends(RAW)
    with progress("looking into what differs", sum(ends[p] - at for p, at in positions.starts.items())) as advance:
        async for records in scan.read(RAW, positions.starts, ends):
            for record in records:
                message = raw_message(record)
                if isinstance(message, Forget):
                    forgotten.learn(message, record.timestamp)
                if not isinstance(message, Message):
                    continue
                digest = message_hash(message.project_id, message.id)
                if digest not in suspects.missing and digest not in suspects.unexpected:
                    continue
                seen.ids[digest] = message.id
                if record.offset < positions.ends[record.partition]:
                    seen.at_first.add(digest)
                if record.offset >= positions.committed[record.partition]:
                    seen.under_way.add(digest)
                if digest in suspects.missing:
                    seen.whose[digest] = whose(record, rules)
            advance(len(records))
    for topic, (_, before) in positions.outputs.items():
        async for message in _outputs(scan, topic, before, await scan.ends(topic)):
            seen.under_way.add(message_hash(message.project_id, message.id))
    return seen


def _lookup(store: Store, messages: Iterable[Message]) -> dict[tuple[str, str], stored.InStore]:
    by_project: dict[str, list[str]] = {}
    for message in messages:
        if message.id:
            by_project.setdefault(message.project_id, []).append(message.id)
    return {
        (project_id, id_): found
        for project_id, ids in by_project.items()
        for id_, found in stored.lookup(store, project_id, ids).items()
    }
