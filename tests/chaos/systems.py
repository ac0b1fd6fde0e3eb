"""A run against each kind of system: its parts one by one, three brokers, or `whipstitch up`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.client import Ledger
from tests.chaos.faults import KINDS, OF_A_CLUSTER, Scene
from tests.chaos.parts import running_parts
from tests.chaos.plan import Fault
from tests.chaos.promise import stitched_again
from tests.chaos.run import Load, Outcome, Say, run, verdict
from tests.chaos.whole_up import OF_UP, running_up

_ALL = {**KINDS, **OF_A_CLUSTER}


def against_parts(folder: Path, brokers: int, load: Load, faults: Iterable[Fault], say: Say) -> Outcome:
    with running_parts(folder, brokers) as parts:
        scene = Scene(parts, Ledger())

        def inject(fault: Fault) -> float:
            scene.number = fault.number
            return _ALL[fault.kind](scene, fault.pick())

        outcome = run(parts, scene.ledger, load, faults, inject, say)
        if not outcome.is_stuck:
            outcome.broken += verdict(parts, scene.ledger, scene.garbage, say)
            say(f"{stitched_again(parts.settings)} repeats in events.stitched, which the views hide")
    for point in scene.not_reached:
        say(f"note: this point was not reached: {point}")
    for ended, times in Counter(parts.ended).items():
        say(f"note: {ended.part} ended by itself {times} times, with code {ended.code}:\n{ended.last_words}")
    return outcome


def against_up(folder: Path, load: Load, faults: Iterable[Fault], say: Say) -> Outcome:
    with running_up(folder) as up:
        ledger = Ledger()
        outcome = run(up, ledger, load, faults, lambda fault: OF_UP[fault.kind](up, fault.pick()), say)
        if not outcome.is_stuck:
            outcome.broken += verdict(up, ledger, [], say)
    return outcome
