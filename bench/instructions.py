"""How many instructions the hot functions take for an event: counted, not timed, so the same on a busy machine.

    .venv/bin/python -m bench.instructions             the counts, beside those that are expected
    .venv/bin/python -m bench.instructions --write     expect what is counted now

Valgrind's callgrind counts; it is Debian's package `valgrind`. What is expected lies in `instructions.json`, with the
Python and the libraries that it holds for: with others the counts are others. So are those of `decide` on a processor
without AVX2, by which ids are hashed.
"""

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from aiokafka.structs import TopicPartition

from bench import load
from broker.batch_header import NO_CODEC
from broker.encoded_batch import EncodedBatch
from broker.fetched_batch import FetchedBatches, LightPartitionRecords
from pipeline.dedupe import SeenIds, seen_id
from pipeline.receipts import Receipts
from pipeline.rules import Rules
from pipeline.stitch import decide
from pipeline.validate import validate
from topics import stitched
from topics.names import RAW
from topics.raw import read_stamp
from topics.records import RawRecord, Record

EXPECTED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
EVENTS = 400
_WARM_UPS = 3
_LEAST = 200  # instructions an event; whatever is counted takes more
# What is called for each event and has a say in how many instructions that takes.
_LIBRARIES = ("aiokafka", "msgspec", "murmurhash2", "numpy")
_RULES = Rules([], max_event_bytes=32 * 1024)

Work = Callable[[], object]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true", help="expect what is counted now")
    arguments.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.work:
        _work()
        return 0
    counts = counted()
    if given.write:
        EXPECTED.write_text(json.dumps({"counted_with": counted_with(), "an_event": counts}, indent=2) + "\n")
    expected = json.loads(EXPECTED.read_text())["an_event"]
    print("| function | instructions an event | expected | |\n|---|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count:,} | {expected[name]:,} | {count / expected[name] - 1:+.1%} |")
    return 0


def counted_with() -> dict[str, str]:
    """What the counts depend on besides the code."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: version(name) for name in _LIBRARIES}}


def counted() -> dict[str, int]:
    """Instructions an event, by function. Raises FileNotFoundError where there is no valgrind."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=qsort_r"]
        command += ["--dump-after=qsort_r", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, "-m", "bench.instructions", "--work"]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run(command, env=environ, check=True, capture_output=True)
        totals = _totals(Path(folder))
    return {name: total // EVENTS for name, total in zip(functions(), totals, strict=True)}


def _totals(folder: Path) -> list[int]:
    """Of each call of qsort, in their order, but for Python's own at its start and end, which sort next to nothing."""
    dumps = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    found = (re.search(r"-after=qsort_r.*^totals: (\d+)", dump.read_text(), re.MULTILINE | re.DOTALL) for dump in dumps)
    return [total for each in found if each and (total := int(each[1])) > EVENTS * _LEAST]


def _work() -> None:
    for work in functions().values():
        for _ in range(_WARM_UPS):
            work()
        _inside_qsort(work)


def _inside_qsort(work: Work) -> None:
    """Called by C's qsort, between whose beginning and end callgrind counts."""

    def compare(_one: object, _other: object) -> int:
        work()
        return 0

    two = (ctypes.c_int * 2)()
    called = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    ctypes.CDLL(None).qsort(two, 2, ctypes.sizeof(ctypes.c_int), called)


def functions() -> dict[str, Work]:
    """What is counted; each takes `EVENTS` events."""
    loaded = [record for _, record in load.records(EVENTS, 1)]
    batch = _batch(loaded)
    records = _unpacked(batch)
    stamps = [record.headers for record in records]
    events = [event for record in records if isinstance(event := validate(record, _RULES), stitched.StitchedEvent)]
    known = SeenIds(86_400, seal_at=EVENTS)
    receipts = Receipts.of([seen_id(e.project_id, e.message_id) for e in events], [e.received_at for e in events])
    known.remember_all(receipts)
    owners = {key: value for key, value in decide(records, SeenIds(60), {}, _RULES).owners.items() if value}
    return {
        "broker.encoded_batch": lambda: _batch(loaded),
        "broker.fetched_batch": lambda: _unpacked(batch),
        "topics.raw.read_stamp": lambda: [read_stamp(headers) for headers in stamps],
        "pipeline.validate.validate": lambda: [validate(record, _RULES) for record in records],
        "topics.stitched.encode": lambda: [stitched.encode(event) for event in events],
        "pipeline.stitch.decide, new ids": lambda: decide(records, SeenIds(60), {}, _RULES),
        "pipeline.stitch.decide, known ids": lambda: decide(records, SeenIds(60), owners, _RULES),
        "pipeline.stitch.decide, duplicates": lambda: decide(records, known, owners, _RULES),
    }


def _batch(records: Sequence[Record]) -> bytes:
    """One record batch, as Kafka keeps it but for its compression, the library's."""
    return EncodedBatch(records, 0, 1 << 30, NO_CODEC)._build()


def _unpacked(batch: bytes) -> list[RawRecord]:
    fetched = LightPartitionRecords(TopicPartition(RAW, 0), FetchedBatches(batch), [], 0, None, None, True, 0)
    return fetched.take(None)


if __name__ == "__main__":
    sys.exit(main())
