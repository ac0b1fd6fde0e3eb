"""`replay swap` as a process that kills itself at a named point, as a power cut does."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_RUN = """
import importlib, os, signal, sys
owner, name, begins, nth, *argv = sys.argv[1:]
module, _, inner = owner.partition(":")
where = importlib.import_module(module)
where = getattr(where, inner) if inner else where
wrapped, done = getattr(where, name), [0]
def until(*given, **named):
    answer = wrapped(*given, **named)
    done[0] += not begins or given[1].startswith(begins)
    if done[0] == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
setattr(where, name, until)
from cli.replay_swap import swap
swap(argv)
"""


class Point(NamedTuple):
    """Behind the `nth` call of a function, as `module:Class` and its name; of those only whose text so begins."""

    owner: str
    name: str
    begins: str = ""
    nth: int = 1


POINTS = {
    "noted": Point("replay.swap:Swap", "_noted"),
    "finished": Point("replay.swap", "finish"),
    "mirrored": Point("replay.exchange:Exchange", "mirror"),
    "half exchanged": Point("store.http:HttpStore", "command", "EXCHANGE", 2),
    "exchanged": Point("replay.exchange:Exchange", "exchange"),
    "brought up": Point("replay.exchange:Exchange", "bring_up_rest"),
    "corrected": Point("replay.corrections:Corrections", "end"),
}
"""The steps of a swap, in their order."""


def swap_killed(point: str, *argv: str) -> None:
    """It has the environment of this process."""
    owner, name, begins, nth = POINTS[point]
    killed = subprocess.run([sys.executable, "-c", _RUN, owner, name, begins, str(nth), *argv], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL, f"the swap was not killed where it is {point}"
