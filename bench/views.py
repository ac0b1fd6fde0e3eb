"""What resolving all of history costs: the views over 10M events, before and after a squash, as ratios.

    .venv/bin/python -m bench.views --rows 10000000

Each ratio is the median of pairs of queries that take turns: `uniqExact` of the person over `events_resolved_v`, and of
`coalesce(user_id, anonymous_id)` over `events`, which resolves nothing. At the end the promise is checked: the squash
changed no event's person.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.ratios import Ratio, in_turn, ratio
from bench.results import Figure
from embedded.store import start_store
from store.client import Store, open_store
from store.migrate import migrate
from store.squash import squash

AT_ONCE = 1_000_000
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
# Ten months of 2025. Of ten events seven are anonymous, two have a user alone, one is an identify. A tenth as many
# anonymous ids as events; a third is never identified, of the others one in nineteen has two users.
EVENTS = """
INSERT INTO events_stored
    (project_id, message_id, type, event_name, anonymous_id, user_id, timestamp, received_at, properties_text, raw)
WITH number % 10 AS kind, intDiv(number, 10) AS tenth, {rows:UInt64} AS total, sipHash64(number) AS random
SELECT
    'bench',
    lower(hex(sipHash128(number))),
    if(kind = 0, 'identify', 'track'),
    multiIf(kind = 0, '$identify', number % 1000 = 3, '$reset', 'Viewed'),
    multiIf(
        kind IN (1, 2), NULL,
        toString(reinterpretAsUUID(sipHash128(
            if(kind = 0, tenth % intDiv(total * 95, 1000), random % intDiv(total * 14, 100))
        )))
    ),
    if(kind IN (0, 1, 2), 'user-' || toString(if(kind = 0, tenth, random % intDiv(total, 10))), NULL),
    toDateTime64('2025-01-01 00:00:00', 3, 'UTC') + toIntervalSecond(intDiv(number * 26000000, total)) AS at,
    at,
    '{"plan": "pro"}',
    '{}'
FROM numbers({from:UInt64}, {count:UInt64})
"""
LINKS = """
INSERT INTO identity_links_stored (project_id, anonymous_id, user_id, timestamp, message_id, kind, received_at)
SELECT
    project_id, assumeNotNull(anonymous_id), user_id, timestamp, message_id,
    if(event_name = '$reset', 'reset', 'exact'), received_at
FROM events_stored WHERE event_name IN ('$identify', '$reset')
"""
# One user in a hundred is another's.
PERSONS = """
INSERT INTO identity_persons_stored (project_id, user_id, since, canonical_user_id, standing, message_id, version)
SELECT
    'bench', 'user-' || toString(number * 100), '2025-06-01 00:00:00', 'user-' || toString(number * 100 + 1), 'joined',
    toString(number), number
FROM numbers(intDiv({rows:UInt64}, 1000))
"""
UNRESOLVED = "SELECT uniqExact(coalesce(user_id, anonymous_id)) AS persons FROM events"
RESOLVED = "SELECT uniqExact(person_id) AS persons FROM events_resolved_v"
WHO = "SELECT sum(cityHash64(message_id, person_id, resolved_user_id)) AS who FROM events_resolved_v"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the queries, pair by pair."""

    unresolved_s: list[float]
    resolved_s: list[float]

    @property
    def ratio(self) -> Ratio:
        return ratio(self.resolved_s, self.unresolved_s)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000, help="events; a tenth as many are links")
    arguments.add_argument("--pairs", type=int, default=7, help="pairs of queries a ratio")
    options = arguments.parse_args()
    came, squashed, is_right = _measured(options.rows, options.pairs)
    print("| events_resolved_v / events | ratio | unresolved, s | resolved, s |\n|---|---|---|---|")
    for name, times in (("as they came", came), ("squashed", squashed)):
        unresolved_s, resolved_s = (statistics.median(column) for column in (times.unresolved_s, times.resolved_s))
        print(f"| {name} | {times.ratio.median:.2f} | {unresolved_s:.2f} | {resolved_s:.2f} |")
    print(f"\nthe same person for each of {options.rows:,} events: {'right' if is_right else 'WRONG'}")
    return 0 if is_right else 1


def figures(rows: int, pairs: int) -> list[Figure]:
    came, squashed, is_right = _measured(rows, pairs)
    of = f"{rows:,} rows, {rows // 10:,} links, {pairs} pair{'s' * (pairs > 1)}"
    after = replace(Figure.of_ratio("squashed", squashed.ratio, of), is_right=is_right)
    return [Figure.of_ratio("resolved", came.ratio, of), after]


def _measured(rows: int, pairs: int) -> tuple[Times, Times, bool]:
    """Before and after the squash, and whether each event's person is the same."""
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)) as store:
        _fill(store, rows)
        before = store.query(WHO)
        came = _times(store, pairs)
        began_s = time.monotonic()
        squash(store, BEFORE)
        _say(f"squashed in {time.monotonic() - began_s:.0f} s")
        return came, _times(store, pairs), store.query(WHO) == before


@contextmanager
def _store(folder: Path) -> Iterator[Store]:
    running = start_store(folder, _say, preferred_port=None)
    try:
        opened = open_store(running.url)
        migrate(opened)
        yield opened
        opened.close()
    finally:
        running.stop()


def _fill(store: Store, rows: int) -> None:
    for start in range(0, rows, AT_ONCE):
        store.command(EVENTS, {"rows": rows, "from": start, "count": min(AT_ONCE, rows - start)})
    store.command(LINKS)
    store.command(PERSONS, {"rows": rows})
    _say(f"stored {rows:,} events")


def _times(store: Store, pairs: int) -> Times:
    """The first pair only warms up."""
    times = Times([], [])
    for first, second in in_turn(UNRESOLVED, RESOLVED, pairs + 1):
        for sql in (first, second):
            (times.unresolved_s if sql == UNRESOLVED else times.resolved_s).append(_seconds(store, sql))
    return Times(times.unresolved_s[1:], times.resolved_s[1:])


def _seconds(store: Store, sql: str) -> float:
    began_s = time.monotonic()
    store.query(sql)
    return time.monotonic() - began_s


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
