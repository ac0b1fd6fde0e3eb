"""Which fault comes when: a function of the seed alone.

Faults come in rounds; in each round every kind comes once, in an order of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

DUPLICATES = (0.01, 0.01, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """`after_s` counts from the recovery from the one before; `seed` says everything else about it."""

    number: int
    kind: str
    after_s: float
    duplicates: float
    seed: str

    def pick(self) -> Random:
        return Random(self.seed)


def plan(seed: int, kinds: Sequence[str], of_each: int, longest_calm_s: float) -> Iterator[Fault]:
    """`of_each` faults of each kind."""
    pick = Random(f"plan {seed}")
    number = 0
    for _ in range(of_each):
        for kind in pick.sample(list(kinds), len(kinds)):
            number += 1
            after_s = pick.uniform(0, longest_calm_s)
            yield Fault(number, kind, after_s, pick.choice(DUPLICATES), f"fault {seed} {number}")
