"""The whole protocol: every comparison, every other figure, one table and one plot.

    make bench                                  # 1,000,000 events, 7 pairs; hours: leave the machine alone meanwhile
    make bench-quick                            # the same table, of little: only to see that it works
    .venv/bin/python -m bench --only f_tuned    # one figure again; the others stay as they were measured

Results go to build/bench: results.json, table.md, ratios.svg. What was measured is kept there as it comes, so that a
run that was interrupted can be completed with --only. The exit code is 1 where the run is void, an answer was wrong,
or a side did not run.
"""

import argparse
import logging
import platform
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import results, table
from bench.plot import draw
from bench.results import Results
from bench.runner import QUICK, Runner, Scale
from bench.targets import TARGETS
from bench.turn import ROOT

PAGE: Final = ROOT / "docs" / "performance.md"
KEYS: Final = [target.key for target in TARGETS]


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"stopped; {given.out} has what was measured until now"))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry that a new topic asks for
    file = given.out / "results.json"
    kept = results.load(file) if given.only else None
    machine = given.machine or (kept and kept.machine) or results.this_machine(platform.python_version())
    found = replace(kept, machine=machine) if kept else Results(machine)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        Runner(found, file, _scale(given), {*(given.only or KEYS)}, progress).run()
    _publish(found, given.out, for_docs=given.docs)
    print(table.markdown(found))
    return 1 if found.is_void or found.wrong or found.failures else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--quick", action="store_true", help="little of everything")
    arguments.add_argument("--events", type=int, help="that a turn drains")
    arguments.add_argument("--short-events", type=int, help="that a turn drains where one of the sides is slow")
    arguments.add_argument("--even-events", type=int, help="that a turn drains where there are several workers")
    arguments.add_argument("--pairs", type=int, help="of turns")
    arguments.add_argument("--only", nargs="+", choices=KEYS, metavar="KEY", help=f"of {', '.join(KEYS)}")
    arguments.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for the results")
    arguments.add_argument("--docs", action="store_true", help="put table and plot into docs/performance.md as well")
    arguments.add_argument("--machine", help='what the table calls it, as "2 shared cores, 24 GB, Python 3.11"')
    return arguments.parse_args()


def _scale(given: argparse.Namespace) -> Scale:
    asked = {name: getattr(given, name) for name in ("events", "short_events", "even_events", "pairs")}
    return replace(QUICK if given.quick else Scale(), **{name: size for name, size in asked.items() if size})


def _publish(found: Results, folder: Path, *, for_docs: bool) -> None:
    (folder / "table.md").write_text(table.markdown(found))
    draw(found, folder / "ratios.svg")
    if for_docs:
        table.put_into(PAGE, found)
        draw(found, PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main())
