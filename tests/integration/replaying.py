"""What the tests of whole replays share: a history with all that can be in one, the commands, and what they came to."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner, Result

from broker.connection import client_options
from broker.worker_progress import WorkerProgress
from cli.replay import replay
from replay import shadow, state
from replay.state import Replay, Status
from store import tables
from store.client import Row, Store
from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics.keys import anonymous_key
from topics.names import LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED

ROOT = Path(__file__).parents[2]
WITHIN_S = 90.0
HOUR_MS = 3_600_000
FROM_MS = START_MS - START_MS % HOUR_MS + HOUR_MS
FROM, TO = "2026-09-21T15:00:00Z", "2026-09-21T17:00:00Z"
IN_VIEWS = {
    "events": "message_id, event_name, anonymous_id, user_id, stitched_user_id, timestamp, received_at, "
    "toJSONString(properties) AS properties, raw",
    "identity_links": "message_id, anonymous_id, user_id, kind, received_at",
    "identity_edges": "kind, from_user_id, to_user_id, state",
    "identity_persons": "user_id, canonical_user_id, standing, since",
    "rejected_events": "message_id, reason, detail, step, raw, source_topic, source_partition, source_offset",
    "events_resolved_v": "message_id, resolved_user_id, person_id",
    "events_stored": "DISTINCT message_id, received_at",
}


def run(*argv: str) -> Result:
    result = CliRunner().invoke(replay, argv)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def start(*argv: str) -> dict[str, object]:
    result = run("start", "--from", FROM, "--to", TO, "--json", *argv)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def call(project: str, message_id: str, at_ms: int, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": "A", "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=at_ms, key_kind="secret")


def history(project: str) -> list[TestRecord]:
    """Some hours of a project: before the range, in it, and after it."""
    records = []
    for n in range(240):
        at_ms = FROM_MS - HOUR_MS + n * 60_000
        fields: dict[str, object] = {"anonymousId": f"A{n % 7}", "properties": {"n": n}}
        match n % 12:
            case 3:
                fields |= {"type": "identify", "userId": f"u{n % 5}", "traits": {"plan": n}}
            case 5:
                fields |= {"messageId": f"m{n - 4}", "anonymousId": f"A{(n - 4) % 7}"}
            case 7:
                fields |= {"anonymousId": None}
            case 9:
                fields |= {"type": "alias", "userId": f"u{n % 5}", "previousId": f"u{(n + 1) % 5}"}
            case 11:
                fields |= {"properties": {"n": n, "odd": "\u2603"}}
        records.append(call(project, str(fields.pop("messageId", f"m{n}")), at_ms, **fields))
    before, after = FROM_MS - 30_000, FROM_MS + 30_000
    all_ids: list[dict[str, object]] = [
        {"anonymousId": "A6"},
        {"anonymousId": None, "userId": "u1"},
        {"userId": "null"},
    ]
    for n, ids in enumerate(all_ids):
        records += [call(project, f"repeat{n}", at_ms, **ids) for at_ms in (before, after)]
    records.sort(key=lambda record: record.timestamp)
    odd = b'{"type":"track","event":"E","anonymousId":"A1","properties":{"n":1e999}}'
    late = raw_call(odd, project_id=project, at_ms=FROM_MS + 5, message_id="odd")
    return [*records, dataclasses.replace(late, key=anonymous_key(project, "A1"))]


async def stored(system: System) -> None:
    """Wait until the workers have done all there is, topic by topic on the way of an event."""
    progress = WorkerProgress(system.settings)
    await progress.start()
    try:
        for topics in ([RAW], [STITCHED, LINKS, MERGES, REJECTED], [PERSONS]):
            await progress.wait(await progress.ends(topics), WITHIN_S, lambda left: None)
    finally:
        await progress.stop()


def seen(store: Store, project: str) -> dict[str, Sequence[Row]]:
    return {
        view: store.query(f"SELECT {columns} FROM {view} WHERE project_id = {{p:String}} ORDER BY ALL", {"p": project})
        for view, columns in IN_VIEWS.items()
    }


def differing(view: str, one: dict[str, Sequence[Row]], other: dict[str, Sequence[Row]]) -> list[tuple[object, ...]]:
    """The cells that differ, row by row, or the numbers of rows where those do."""
    if len(one[view]) != len(other[view]):
        return [(view, len(one[view]), len(other[view]))]
    return [
        (view, this.get("message_id", n), name, this[name], that[name])
        for n, (this, that) in enumerate(zip(one[view], other[view], strict=True))
        for name in this
        if this[name] != that[name]
    ]


def succeeds(command: click.Command, *argv: str) -> None:
    result = CliRunner().invoke(command, argv)
    assert result.exit_code == 0, result.output


def traces(system: System) -> dict[str, object]:
    """Names of all that a replay could leave somewhere."""
    return {
        "tables": system.rows("SELECT database, name FROM system.tables WHERE database != 'system' ORDER BY ALL"),
        "databases": system.rows("SELECT name FROM system.databases ORDER BY name"),
        "folders": sorted(str(path) for path in system.settings.data.iterdir()),
        "kafka": asyncio.run(names_in_kafka(system)),
    }


async def names_in_kafka(system: System) -> list[str]:
    admin = AIOKafkaAdminClient(**client_options(system.settings))
    await admin.start()
    groups, topics = await admin.list_consumer_groups(), await admin.list_topics()
    await admin.close()
    return sorted([*topics, *(group[0] for group in groups)])


def replayed(system: System, done: dict[str, object], project: str) -> dict[str, Sequence[Row]]:
    with closing(shadow.open_shadow(system.settings.store, str(done["replay"]))) as own:
        return seen(own, project)


def killed(system: System, *argv: str) -> Replay:
    """Begin a replay, and kill it with its workers once some of it is done."""
    process = begun(system, *argv)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    found = begun_by(system)
    assert found is not None
    return found


def begun(system: System, *argv: str) -> subprocess.Popen[bytes]:
    """A replay as a process group of its own that has done some of its work."""
    command = f"from cli.replay import replay; replay({['start', '--from', FROM, '--to', TO, *argv]!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE
    )
    eventually(lambda: begun_by(system) is not None or process.poll() is not None, "some done", WITHIN_S, 0.02)
    assert process.poll() is None, "it was done already"
    return process


def begun_by(system: System) -> Replay | None:
    """The replay there is, once it has done something."""
    there = [each for each in state.replays(system.store, system.settings.store) if each.status is Status.RUNNING]
    for each in there:
        with closing(shadow.open_shadow(system.settings.store, each.id)) as own:
            if state.totals(state.read_progress(own))["events"]:
                return each
    return None


def bytes_of(system: System, replay_id: object, project: str) -> dict[str, list[str]]:
    """Each row of each table of a replay with all of its columns, as the store writes them."""
    with closing(shadow.open_shadow(system.settings.store, str(replay_id))) as own:
        return {table: _lines(own, table, columns, project) for table, columns in _WRITTEN.items()}


def _lines(own: Store, table: str, columns: str, project: str) -> list[str]:
    of = f"FROM {table} FINAL WHERE project_id = {{p:String}}"
    rows = own.query(f"SELECT formatRow('TSV', {columns}) AS line {of} ORDER BY line", {"p": project})
    return [str(row["line"]) for row in rows]


_WRITTEN = {
    **dict.fromkeys((tables.EVENTS, tables.LINKS, tables.EDGES, tables.PERSONS), "*"),
    tables.REJECTED: "* EXCEPT (source_partition, source_offset)",  # where a record stood, which partitions decide
}
