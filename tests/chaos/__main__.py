"""Break a whole system of its own under load, again and again, and see whether every message is there afterwards.

    python -m tests.chaos --seed 1 --minutes 20
    python -m tests.chaos --seed 1 --kills 100 --faults kill-worker,kill-store
    python -m tests.chaos brokers --kills 3      three brokers, which are killed one after the other
    python -m tests.chaos up --kills 3           `whipstitch up`, which starts its parts again by itself

A seed makes one plan of faults. Where the promise was broken the exit code is 1, and the data folder is kept.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.faults import KINDS, OF_A_CLUSTER, can_be_filled
from tests.chaos.plan import Fault, plan
from tests.chaos.report import table, violations
from tests.chaos.run import Load, Outcome
from tests.chaos.systems import against_parts, against_up
from tests.chaos.whole_up import OF_UP

_OF_WHAT = {"parts": list(KINDS), "brokers": list(OF_A_CLUSTER), "up": list(OF_UP)}
_ON_A_DISK_OF_ITS_OWN = "WHIPSTITCH_CHAOS_SMALL_DISK"
_DISK = "size=512m"
_BEGAN_S = time.monotonic()


def main() -> int:
    given = _arguments()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    kinds = _kinds(given, folder)
    say(f"seed {given.seed}, {len(kinds)} kinds of faults, folder {folder}")
    outcome = _outcome(given, folder, _in_time(plan(given.seed, kinds, given.kills, given.calm), 60 * given.minutes))
    print(table(outcome))
    if outcome.broken:
        _keep_small_disk(folder)
        print(f"\nbroken, with seed {given.seed}; the data folder is {folder}\n{violations(outcome)}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN_S:7.1f} s  {text}", flush=True)


def _outcome(given: argparse.Namespace, folder: Path, faults: Iterator[Fault]) -> Outcome:
    load = Load(given.seed, given.rate)
    if given.system == "up":
        return against_up(folder, load, faults, say)
    return against_parts(folder, 3 if given.system == "brokers" else 1, load, faults, say)


def _in_time(faults: Iterator[Fault], within_s: float) -> Iterator[Fault]:
    until_s = time.monotonic() + within_s
    return itertools.takewhile(lambda _: time.monotonic() < until_s, faults)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", nargs="?", choices=list(_OF_WHAT), default="parts", help="what is broken")
    parser.add_argument("--seed", type=int, default=1, help="what the plan is made from (%(default)s)")
    parser.add_argument("--minutes", type=float, default=20, help="no fault comes later (%(default)s)")
    parser.add_argument("--kills", type=int, default=1_000_000, help="most faults of each kind (as many as fit)")
    parser.add_argument("--faults", help=f"kinds, with commas between: {', '.join([*KINDS, *OF_A_CLUSTER, *OF_UP])}")
    parser.add_argument("--rate", type=float, default=20, help="requests a second (%(default)s)")
    parser.add_argument("--calm", type=float, default=4, help="longest time between two faults, s (%(default)s)")
    parser.add_argument("--folder", type=Path, help="for the data; a temporary one if not given")
    return parser.parse_args()


def _kinds(given: argparse.Namespace, folder: Path) -> Sequence[str]:
    known = _OF_WHAT[given.system]
    kinds = given.faults.split(",") if given.faults else known
    if unknown := sorted(set(kinds) - set(known)):
        sys.exit(f"no such fault: {', '.join(unknown)}; there are {', '.join(known)}")
    if "full-store" in kinds and not _has_small_disk(folder):
        say("full-store is left out: no small disk can be made here (`unshare --map-root-user --mount`)")
        return [kind for kind in kinds if kind != "full-store"]
    return kinds


def _has_small_disk(folder: Path) -> bool:
    """Gives the store a small disk in memory, without any rights: in a mount namespace of this program's own, which is
    started again in it."""
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    if os.environ.get(_ON_A_DISK_OF_ITS_OWN) == "1":
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", _DISK, "tmpfs", store], capture_output=True)
        return mounted.returncode == 0 and can_be_filled(store)
    in_namespace = ["unshare", "--map-root-user", "--mount", "--"]
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, "true"], capture_output=True).returncode:
        return False
    os.environ[_ON_A_DISK_OF_ITS_OWN] = "1"
    os.execvp("unshare", [*in_namespace, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])


def _keep_small_disk(folder: Path) -> None:
    """What lies in memory goes with this program."""
    if os.environ.get(_ON_A_DISK_OF_ITS_OWN) == "1":
        shutil.copytree(folder / "store", folder / "store-copied", symlinks=True, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
