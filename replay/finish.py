"""What a replay's tables lack once all records are decided: persons, what was dropped or forgotten since.

Arrives: the replay's tables, filled. Leaves: the same as live would have come to. Every function raises StoreError, and
is safe to repeat.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final
from uuid import uuid4

import msgspec

from pipeline.forget import Stage
from pipeline.person_graph import PersonGraph
from replay.shadow import copy, parameters
from replay.state import Replay
from store.client import Store
from store.dead_letters import DROPPED
from store.facts import edge_of
from store.forget import Departure
from store.mutations import mutate
from store.persons import Reader
from store.tables import EDGES, PERSONS, REJECTED
from topics.control import Forgotten
from topics.edges import EdgeFact
from topics.persons import PersonStep

_ROWS_AT_ONCE: Final = 50_000
_OF_PROJECT: Final = "({project:String} = '' OR project_id = {project:String})"
_PLACE: Final = "(source_topic, source_partition, source_offset)"


def finish(shadow: Store, live_database: str, replay: Replay, forgotten: Iterable[Forgotten], stage: Stage) -> None:
    """Step by step, as each rests on the one before."""
    # Step 1. Dead letters that somebody dropped stay dropped.
    keep_dropped(shadow, live_database, replay)
    # Step 2. Which users are one person, by all ties there are.
    write_persons(shadow, replay)
    # Step 3. Who was forgotten, which takes ties away.
    if forget(shadow, replay, forgotten, stage):
        # Step 4. And so the persons once more.
        write_persons(shadow, replay)


def keep_dropped(shadow: Store, live_database: str, replay: Replay) -> None:
    """Take over the notes of dead letters that were dropped, and remove the letters that are there again."""
    received = "ifNull(received_at, rejected_at)"
    range_ = f"{received} >= {{from:DateTime64(3, 'UTC')}} AND {received} < {{to:DateTime64(3, 'UTC')}}"
    params = {"project": "", **parameters(replay)}
    copy(shadow, live_database, REJECTED, f"step = '{DROPPED}' AND {range_} AND {_OF_PROJECT}", params)
    noted = f"SELECT {_PLACE} FROM {REJECTED} WHERE step = '{DROPPED}'"
    if shadow.query(f"SELECT 1 FROM {REJECTED} WHERE step != '{DROPPED}' AND {_PLACE} IN ({noted}) LIMIT 1"):
        mutate(shadow, REJECTED, f"DELETE WHERE step != '{DROPPED}' AND {_PLACE} IN ({noted})", {})


def write_persons(shadow: Store, replay: Replay) -> None:
    """Compute the steps of the replay's projects from their facts. Their version is 0: what live writes later wins."""
    params = {"project": replay.project_id or ""}
    if shadow.query(f"SELECT 1 FROM {PERSONS} WHERE {_OF_PROJECT} LIMIT 1", params):
        mutate(shadow, PERSONS, f"DELETE WHERE {_OF_PROJECT}", params)
    rules = replay.rules()
    for project_id, facts in _facts(shadow, params).items():
        steps = PersonGraph(project_id, rules.of(project_id).max_users_per_person).apply(facts)
        rows = [_row(steps[at]) for at in sorted(steps)]
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            shadow.insert(PERSONS, rows[first : first + _ROWS_AT_ONCE], uuid4().hex)


def forget(shadow: Store, replay: Replay, forgotten: Iterable[Forgotten], stage: Stage) -> bool:
    """Take out again who was forgotten, in the order in which they were; whether there was anybody."""
    anybody = False
    for note in sorted(forgotten, key=lambda note: (note.forgotten_at_ms, note.person_id)):
        if replay.project_id not in (None, note.project_id):
            continue
        reader = Reader(shadow, note.project_id, note.forgotten_at_ms)
        chosen = reader.chosen_by(note)
        if chosen is None:
            continue
        departure = Departure(shadow, reader.person(chosen))
        departure.prepare()
        departure.remove((), stage)
        departure.end()
        anybody = True
    return anybody


def _facts(shadow: Store, params: Mapping[str, object]) -> dict[str, list[EdgeFact]]:
    facts: defaultdict[str, list[EdgeFact]] = defaultdict(list)
    for row in shadow.query(f"SELECT * FROM {EDGES} FINAL WHERE {_OF_PROJECT} ORDER BY ALL", params):
        facts[row["project_id"]].append(edge_of(row))
    return facts


def _row(step: PersonStep) -> bytes:
    return msgspec.json.encode({**msgspec.structs.asdict(step), "version": 0})
