"""What an event costs where few ids are remembered and where many: the stitch agent's decision, and remembering it.

    .venv/bin/python -m bench.known_ids

Both states lie in one process, filled with more than a window of ids, and take turns, so that a drift of the machine is
nobody's gain. The calls are those of every benchmark, with ids of 24 hours of which 5 % come for the second time.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path
from typing import Final

from bench import load
from bench.dedupe import BATCH, FEW, MANY, WINDOW_S, batch, take_in
from bench.ratios import Ratio, in_turn, ratio
from bench.results import Figure
from pipeline.dedupe import SeenIds
from pipeline.rules import Rules
from pipeline.stitch import decide
from topics.names import RAW
from topics.records import PlacedRecord

PAIRS: Final = 21
_BATCHES_A_TURN: Final = 10
_RULES: Final = Rules([], max_event_bytes=32 * 1024)


class _Stitching:
    """One partition's state that remembers `ids` of the last window, and who owns which anonymous id."""

    def __init__(self, ids: int, folder: Path) -> None:
        self._ids = ids
        self._seen = SeenIds(WINDOW_S, folder)
        self._seen.position = 0
        self._owners: dict[bytes, bytes] = {}
        self._next = count()
        for number in islice(self._next, (ids + ids // 2) // BATCH):
            take_in(self._seen, *batch(ids, number))

    def turn(self) -> float:
        """The CPU-seconds of a turn."""
        return sum(self._decide(_records(*batch(self._ids, next(self._next)))) for _ in range(_BATCHES_A_TURN))

    def _decide(self, records: list[PlacedRecord]) -> float:
        begin = time.process_time()
        decision = decide(records, self._seen, self._owners, _RULES)
        self._seen.remember_new(decision.claimed)
        self._owners.update((key, value) for key, value in decision.owners.items() if value is not None)
        return time.process_time() - begin


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--many", type=int, default=MANY)
    found = _in_a_process(arguments.parse_args().many, PAIRS)
    print("| cost of an event, many ids / few | 95 % | pairs |\n|---|---|---|")
    print(f"| {found.median:.3g} | {found.low:.3g} to {found.high:.3g} | {found.pairs} |")
    return 0


def figures(many: int, pairs: int = PAIRS) -> list[Figure]:
    return [Figure.of_ratio("many_ids", _in_a_process(many, pairs), f"a decision, {many:,} ids to {FEW:,}")]


def _in_a_process(many: int, pairs: int) -> Ratio:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (many, pairs))


def _measured(many: int, pairs: int) -> Ratio:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        more, less = _Stitching(many, Path(one)), _Stitching(FEW, Path(other))
        spent_s: dict[_Stitching, list[float]] = {more: [], less: []}
        for pair in in_turn(more, less, pairs):
            for side in pair:
                spent_s[side].append(side.turn())
        return ratio(spent_s[more], spent_s[less])


def _records(message_ids: list[str], received_at: list[float]) -> list[PlacedRecord]:
    calls = load.events(len(message_ids), seed=round(received_at[0]))
    records = []
    for message_id, at, (anonymous_id, call) in zip(message_ids, received_at, calls, strict=True):
        key, value, at_ms, headers = load.record(anonymous_id, {**call, "messageId": message_id}, round(at * 1000))
        records.append(PlacedRecord(RAW, 0, 0, at_ms, key, value, headers))
    return records


if __name__ == "__main__":
    sys.exit(main())
