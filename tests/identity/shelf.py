"""Many random workloads in the store at once, each with a twin that differs in one respect, and all that the views say
of them; and what is left of a workload that a claim does not hold for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from store.client import Store
from tests.identity.messages import Message, alias, identify, merge, received_ms, track
from tests.identity.pure import Delivery
from tests.identity.view import Stored, Views, put, read_as_of, read_views
from tests.identity.workloads import LAST_TICK, TICK_S, Workload, drawn_at_random

AS_OF = [received_ms(track("t", 0, received=tick * TICK_S)) for tick in (2, 5, 8, LAST_TICK)]
LATE: dict[str, Any] = {"received": LAST_TICK * TICK_S}

Twin = Callable[[Workload], Workload]
Given = tuple[Workload, Delivery]


def with_a_fact_more(workload: Workload) -> Workload:
    """One about the anonymous id A."""
    return _with(workload, identify("~", 4 * TICK_S, "A", "a stranger", **LATE))


def with_blocked_ids(workload: Workload) -> Workload:
    return _with(
        workload,
        identify("~1", 3 * TICK_S, "undefined", "u", **LATE),
        identify("~2", 3 * TICK_S, "A", "(NULL)", **LATE),
        track("~3", 3 * TICK_S, "B", "0", **LATE),
        alias("~4", 3 * TICK_S, "nil", "v", **LATE),
        alias("~5", 3 * TICK_S, "w", "None", **LATE),
        merge("~6", 3 * TICK_S, "u", "'guest'", **LATE),
    )


def without_the_other_project(workload: Workload) -> Workload:
    return Workload(tuple(message for message in workload.messages if message.project == "p"), workload.projects)


TWINS = (with_a_fact_more, with_blocked_ids, without_the_other_project)


@dataclass(frozen=True)
class Placed:
    """A workload, its twin, and how this was made."""

    stored: Stored
    twin: Stored
    made_by: Twin


@dataclass(frozen=True)
class Shelf:
    store: Store
    placed: list[Placed]
    views: Views
    as_of: dict[int, Views]

    def with_twins(self, made_by: Twin) -> list[Placed]:
        return [each for each in self.placed if each.made_by is made_by]


Claim = Callable[[Shelf, Placed], None]
"""Raises AssertionError where it does not hold."""


def filled(store: Store, share: float) -> Shelf:
    """With that share of all random workloads."""
    return _filled(store, [(given, TWINS[n % len(TWINS)]) for n, given in enumerate(drawn_at_random(share))])


def hold(shelf: Shelf, claim: Claim, placed: Iterable[Placed] | None = None) -> None:
    """Fails with the smallest workload that is found to break the claim."""
    for each in shelf.placed if placed is None else placed:
        if not _holds(shelf, each, claim):
            small = _smallest(shelf.store, each, claim)
            print(f"{claim.__name__} does not hold of", small.placed[0].stored.workload, small.placed[0].stored.how)
            claim(small, small.placed[0])


def _filled(store: Store, given: Sequence[tuple[Given, Twin]]) -> Shelf:
    run = uuid4().hex[:8]
    stored = put(store, f"{run}.", [each for each, _ in given])
    twins = put(store, f"{run}~", [(make(workload), how) for (workload, how), make in given])
    placed = [Placed(one, twin, make) for one, twin, (_, make) in zip(stored, twins, given, strict=True)]
    return Shelf(store, placed, read_views(store, run), {at_ms: read_as_of(store, run, at_ms) for at_ms in AS_OF})


def _smallest(store: Store, placed: Placed, claim: Claim) -> Shelf:
    """Leaves out message after message for as long as the claim stays broken."""
    small = _filled(store, [((placed.stored.workload, placed.stored.how), placed.made_by)])
    for at in reversed(range(len(placed.stored.workload.messages))):
        shorter = small.placed[0].stored.workload.without(at)
        smaller = _filled(store, [((shorter, placed.stored.how), placed.made_by)])
        if not _holds(smaller, smaller.placed[0], claim):
            small = smaller
    return small


def _holds(shelf: Shelf, placed: Placed, claim: Claim) -> bool:
    try:
        claim(shelf, placed)
    except AssertionError:
        return False
    return True


def _with(workload: Workload, *messages: Message) -> Workload:
    return Workload((*workload.messages, *messages), workload.projects)
