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
from datetime import UTC, datetime
from pathlib import Path

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


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000, help="events; a tenth as many are links")
    arguments.add_argument("--pairs", type=int, default=7, help="pairs of queries a ratio")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)) as store:
        _fill(store, options.rows)
        print("| events_resolved_v / events | ratio | unresolved, s | resolved, s |\n|---|---|---|---|")
        before = store.query(WHO)
        print(_measured(store, "as they came", options.pairs), flush=True)
        began_s = time.monotonic()
        squash(store, BEFORE)
        _say(f"squashed in {time.monotonic() - began_s:.0f} s")
        print(_measured(store, "squashed", options.pairs))
        is_right = store.query(WHO) == before
        print(f"\nthe same person for each of {options.rows:,} events: {'right' if is_right else 'WRONG'}")
        return 0 if is_right else 1


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


def _measured(store: Store, name: str, pairs: int) -> str:
    """A row of the table. The first pair only warms up."""
    seconds = [(_seconds(store, UNRESOLVED), _seconds(store, RESOLVED)) for _ in range(pairs + 1)][1:]
    ratio = statistics.median(resolved / unresolved for unresolved, resolved in seconds)
    unresolved_s, resolved_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    return f"| {name} | {ratio:.2f} | {unresolved_s:.2f} | {resolved_s:.2f} |"


def _seconds(store: Store, sql: str) -> float:
    began_s = time.monotonic()
    store.query(sql)
    return time.monotonic() - began_s


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
