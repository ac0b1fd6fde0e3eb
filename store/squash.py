"""Writes who did them into old events, so that old history is read without the joins.

Arrives: a date. Leaves: the events received in whole months before it, each with its owner as the links tell it now.
The views stay right whatever happens: they take what is written only where no fact came since that could change it, and
join as ever where one did. Users that are merged later need nothing: what is written is the user, not the person.

The order makes that so, also where it is killed, run twice, or beside inserts, which a mutation never touches:

1. the facts that are there are marked as this run's;
2. what another run left behind, or is still at, is taken away: it cannot go on;
3. owners are computed from all facts, those of step 1 among them;
4. month by month they are written into the events;
5. the facts of step 1 are marked as accounted for. Until then, and from a new fact on, an anonymous id is joined.

An anonymous id that changed hands very often is never written: its events are joined.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from store.client import Store
from store.mutations import mutate
from store.tables import EVENTS, LINKS, SQUASHES

MOST_STEPS: Final = 64
"""As often may an anonymous id have changed hands."""

_CHECK_EVERY_S: Final = 0.05
_SCRATCH: Final = "squash_run_"
# As of any moment the views join, squashed or not; no fact is later than this one, and no person as early as the other.
_LINKS_ALONE: Final = "as_of = '2299-12-31 23:59:59', persons_as_of = '1900-01-01 00:00:00'"
_OWNERS: Final = """
(
    own_person_id UUID,
    steps Array(Tuple(DateTime64(3, 'UTC'), String, Nullable(String), Nullable(UUID))),
    is_touched Bool,
    is_left Bool
)
"""
# Who owns each anonymous id from when on: in order, the first since ever. One that lost a fact to a repeat is left too:
# it would have it again if the repeat were dropped with its month.
_COMPUTED: Final = f"""
SELECT own_person_id, if(is_left, [], found), is_touched, length(found) > {MOST_STEPS} OR has_repeats AS is_left
FROM
(
    SELECT
        anonymous_person_id AS own_person_id,
        max(squash != 1) AS is_touched,
        max((project_id, message_id, received_at) IN (SELECT * FROM identity_repeats)) AS has_repeats
    FROM {LINKS}
    WHERE {{of_project}}
    GROUP BY anonymous_person_id
) AS ids
ANY LEFT JOIN
(
    SELECT own_person_id, arraySort(step -> (step.1, step.2), arrayFlatten(groupArray(steps))) AS found
    FROM
    (
        SELECT
            own_person_id,
            [(toDateTime64('1900-01-01 00:00:00', 3, 'UTC'), '', user_id, toNullable(person_id))] AS steps
        FROM sole_owners_as_of({_LINKS_ALONE})
        UNION ALL
        SELECT
            anonymous_person_id,
            arrayMap(step -> (since, step.1, step.2.1, step.2.2), if(length(steps) > 1, arrayPopFront(steps), steps))
        FROM anonymous_id_owners_as_of({_LINKS_ALONE})
    )
    GROUP BY own_person_id
) AS owned USING (own_person_id)
"""
_OWNER: Final = """
arrayLast(step -> (step.1, step.2) <= (timestamp, message_id), joinGet({owners}, 'steps', own_person_id))
"""
_TERMS: Final = "if(joinGet({owners}, 'is_left', own_person_id), 0, joinGet({terms}, 'terms', toString(project_id)))"
_WRITTEN: Final = f"""
UPDATE
    squashed_terms = {_TERMS},
    squashed_user_id = if(user_id IS NULL, {_OWNER}.3, NULL),
    squashed_person_id = if(user_id IS NULL, coalesce({_OWNER}.4, own_person_id), own_person_id)
IN PARTITION ID '{{month}}'
WHERE {{of_project}}
    AND (squashed_terms != {_TERMS} OR user_id IS NULL AND joinGet({{owners}}, 'is_touched', own_person_id))
"""

Told = Callable[[str, int, int], None]
"""Hears which month is written next (`202501`), and which of how many it is."""


@dataclass(frozen=True, slots=True)
class Squashed:
    """`events` of the months before the date are squashed, `joined` are not."""

    months: int
    events: int
    joined: int


def squash(store: Store, before: datetime, project_id: str | None = None, told: Told = lambda *_: None) -> Squashed:
    """Squash the events that were received in whole months before that date, of one project or all.

    What was squashed up to a later date stays so, and is brought up to date too. Raises StoreError; safe to repeat.
    """
    run = _Run(store, project_id)
    run.mark_facts()
    run.stop_others()
    until = run.record(before)
    run.compute()
    months = run.months(until)
    for number, month in enumerate(months, 1):
        told(month, number, len(months))
        run.write(month)
    run.account_for_facts()
    run.end()
    return run.result(months)


def discard(store: Store, project_id: str) -> None:
    """Make void what is squashed of a project, until the next squash. To be called after facts were deleted."""
    sql = f"INSERT INTO {SQUASHES} (project_id, epoch) SELECT project_id, {{epoch:UInt64}} FROM {SQUASHES}"
    store.command(f"{sql} WHERE project_id = {{project:String}} LIMIT 1", {"project": project_id, "epoch": _now_ms()})


class _Run:
    """One run; its scratch tables are named by it."""

    def __init__(self, store: Store, project_id: str | None) -> None:
        self._store = store
        self._id = _now_ms()
        self._of_project = "true" if project_id is None else "project_id = {project:String}"
        self._params = {"run": self._id} | ({} if project_id is None else {"project": project_id})
        self._steps, self._owners, self._terms = (
            f"{_SCRATCH}{self._id}_{name}" for name in ("steps", "owners", "terms")
        )

    def mark_facts(self) -> None:
        self._mutate(LINKS, f"UPDATE squash = {{run:UInt64}} WHERE squash != 1 AND {self._of_project}")

    def account_for_facts(self) -> None:
        self._mutate(LINKS, f"UPDATE squash = 1 WHERE squash = {{run:UInt64}} AND {self._of_project}")

    def stop_others(self) -> None:
        """Without its scratch tables no other run can write another month; what it is writing is broken off."""
        self._drop(_SCRATCH)
        of_squash = f"table = '{EVENTS}' AND NOT is_done AND command LIKE '%{_SCRATCH}%'"
        while self._store.query(
            f"SELECT 1 AS one FROM system.mutations WHERE database = currentDatabase() AND {of_squash} LIMIT 1"
        ):
            self._store.command(f"KILL MUTATION WHERE database = currentDatabase() AND {of_squash}")
            time.sleep(_CHECK_EVERY_S)

    def record(self, before: datetime) -> datetime:
        """Note which projects are squashed; until when, now or ever."""
        self._command(
            f"INSERT INTO {SQUASHES} (project_id, before) SELECT DISTINCT project_id, {{before:DateTime64(3, 'UTC')}} "
            f"FROM {EVENTS} WHERE {self._of_project}",
            before=before,
        )
        sql = f"SELECT max(before) AS until FROM {SQUASHES} WHERE {self._of_project}"
        until: datetime = self._store.query(sql, self._params)[0]["until"]
        return until

    def compute(self) -> None:
        self._command(f"CREATE TABLE {self._steps} {_OWNERS} ENGINE = MergeTree ORDER BY own_person_id")
        self._command(f"INSERT INTO {self._steps} {_COMPUTED.format(of_project=self._of_project)}")
        join = "ENGINE = Join(ANY, LEFT, project_id)"
        self._command(f"CREATE TABLE {self._terms} (project_id String, terms UInt64) {join}")
        self._command(f"INSERT INTO {self._terms} SELECT project_id, terms FROM squash_terms WHERE {self._of_project}")

    def months(self, until: datetime) -> list[str]:
        """The months that there are events of, and that had ended by then, in order."""
        sql = f"""
            SELECT DISTINCT partition_id FROM system.parts
            WHERE database = currentDatabase() AND table = '{EVENTS}' AND active AND partition_id < {{month:String}}
            ORDER BY partition_id
        """
        return [str(row["partition_id"]) for row in self._store.query(sql, {"month": f"{until:%Y%m}"})]

    def write(self, month: str) -> None:
        """Write the owners of one month's events. In memory are those of its anonymous ids."""
        self._command(f"CREATE OR REPLACE TABLE {self._owners} {_OWNERS} ENGINE = Join(ANY, LEFT, own_person_id)")
        self._command(
            f"INSERT INTO {self._owners} SELECT * FROM {self._steps} WHERE own_person_id IN "
            f"(SELECT own_person_id FROM {EVENTS} WHERE _partition_id = '{month}' AND {self._of_project})"
        )
        [row] = self._store.query("SELECT currentDatabase() AS name")
        owners, terms = (f"'{row['name']}.{table}'" for table in (self._owners, self._terms))
        change = _WRITTEN.format(owners=owners, terms=terms, month=month, of_project=self._of_project)
        self._mutate(EVENTS, change)

    def end(self) -> None:
        self._drop(f"{_SCRATCH}{self._id}_")

    def result(self, months: list[str]) -> Squashed:
        sql = f"""
            SELECT count() AS events, countIf(squashed_terms IN (SELECT terms FROM squash_terms)) AS squashed
            FROM {EVENTS} WHERE {self._of_project} AND _partition_id IN {{months:Array(String)}}
        """
        [row] = self._store.query(sql, {**self._params, "months": months})
        return Squashed(len(months), int(row["squashed"]), int(row["events"] - row["squashed"]))

    def _drop(self, prefix: str) -> None:
        sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"
        for row in self._store.query(sql, {"prefix": prefix}):
            self._store.command(f"DROP TABLE IF EXISTS {row['name']} SYNC")

    def _mutate(self, table: str, change: str) -> None:
        mutate(self._store, table, change, self._params)

    def _command(self, sql: str, **params: object) -> None:
        self._store.command(sql, {**self._params, **params})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
