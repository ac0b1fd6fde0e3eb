"""Fuzz a whole system of its own, for as long as it takes.

    python -m tests.fuzz --count 200000 --seed 1

Exit code 1, and each finding by its number, where something was wrong; `--only NUMBER` sends that one alone.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.run import await_settled, fuzz, published_ids, undocumented
from tests.fuzz.system import PROJECT, FuzzedSystem, fuzzed_system
from tests.fuzz.values import MARK


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the ingress over real sockets.")
    parser.add_argument("--count", type=int, default=200_000, help="inputs to send, each twice (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what they are made from (%(default)s)")
    parser.add_argument("--only", type=int, help="the number of one input")
    given = parser.parse_args()
    numbers = range(given.count) if given.only is None else range(given.only, given.only + 1)
    with tempfile.TemporaryDirectory() as folder, fuzzed_system(Path(folder)) as fuzzed:
        wrong = _run(fuzzed, given.seed, numbers)
    print("\n".join(wrong) or "nothing wrong")
    return 1 if wrong else 0


def _run(fuzzed: FuzzedSystem, seed: int, numbers: range) -> list[str]:
    def progress(sent: int, statuses: Counter[int]) -> None:
        line = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
        print(f"\r{sent // 2:>9,} of {len(numbers):,}  {line}", end="", file=sys.stderr, flush=True)

    outcome = fuzz(fuzzed.ingress.settings.port, seed, numbers, fuzzed.keys, fuzzed.paths, progress)
    progress(outcome.statuses.total(), outcome.statuses)
    published = published_ids(fuzzed.system.settings, PROJECT)
    print(f"\n{len(published):,} distinct messages taken; waiting for the store", file=sys.stderr)
    await_settled(fuzzed.system.store, PROJECT, published, timeout_s=600)
    wrong = [*outcome.wrong, *undocumented(outcome, fuzzed.ingress.request("GET", "/openapi.json").json["paths"])]
    wrong += [f"{lost} was answered and is not there" for lost in sorted(outcome.promised - published)]
    if fuzzed.worker.poll() is not None or not fuzzed.ingress.is_ready():
        wrong.append("a part has ended")
    keys = fuzzed.keys
    wrong += [f"{word} is in a log" for word in fuzzed.in_logs(MARK, keys.public, keys.secret, keys.bound, keys.admin)]
    return wrong


if __name__ == "__main__":
    sys.exit(main())
