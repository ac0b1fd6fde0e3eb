"""Commands against a real Kafka and a real store; `up`, `doctor` and `tail` on a running system are in `test_up`."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner

from cli import checks
from cli.main import whipstitch
from embedded.kafka import RunningKafka
from embedded.process import free_port
from pipeline.settings import load
from topics.names import STITCHED, WORKER_GROUP

WHIPSTITCH = Path(sys.executable).parent / "whipstitch"
KEY_CREATE = ("keys", "create", "--json", "--kind")


@pytest.fixture(autouse=True)
def settings(kafka: RunningKafka, store_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHIPSTITCH_KAFKA", kafka.bootstrap)
    monkeypatch.setenv("WHIPSTITCH_STORE", store_url)
    monkeypatch.setenv("WHIPSTITCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WHIPSTITCH_PORT", str(free_port()))
    monkeypatch.chdir(tmp_path)
    assert run("topics", "create")[0] == 0


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    name = f"p{uuid4().hex[:8]}"
    assert run("projects", "create", name)[0] == 0
    return name


def run(*argv: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(whipstitch, argv, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def listed(*argv: str) -> list[dict[str, object]]:
    code, out, _ = run(*argv, "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_topics_that_are_there_are_made_once_and_found_right() -> None:
    assert run("topics", "create") == (0, "all topics are there\n", "")
    assert run("topics", "check") == (0, "all topics are as they must be\n", "")
    assert listed("topics", "check") == [{"ok": True, "problems": []}]


def test_topics_that_differ_from_the_settings_are_told_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIPSTITCH_RAW_RETENTION_S", str(1000 * 86400))
    code, out, _ = run("topics", "check")
    assert code == 1
    assert "events.raw keeps records" in out


def test_key_is_shown_once_and_kept_as_hint_and_hash(project: str) -> None:
    code, out, _ = run(
        *KEY_CREATE, "public", "--project", project, "--origin", "https://shop.example", "--rate-limit-per-s", "9"
    )
    made = json.loads(out)
    assert code == 0
    assert made == {"project": project, "kind": "public", "key": made["key"]}
    (kept,) = listed("keys", "list", "--project", project)
    assert kept["hint"] == made["key"][:7]
    assert (kept["origins"], kept["rate_limit_per_s"]) == (["https://shop.example"], 9)
    assert made["key"] not in json.dumps(kept)


def test_key_for_an_unknown_project_is_refused_and_names_those_there_are(project: str) -> None:
    code, out, err = run(*KEY_CREATE, "secret", "--project", "nowhere")
    assert (code, out) == (1, "")
    assert "no project 'nowhere'; there are: " in err
    assert project in err


def test_revoked_key_is_gone_and_the_others_stay(project: str) -> None:
    keys = [json.loads(run(*KEY_CREATE, "secret", "--project", project)[1])["key"] for _ in range(2)]
    assert run("keys", "revoke", keys[0])[0] == 0
    assert [key["hint"] for key in listed("keys", "list", "--project", project)] == [keys[1][:7]]
    code, _, err = run("keys", "revoke", keys[0])
    assert code == 1
    assert "no key" in err


def test_project_settings_are_set_one_by_one(project: str) -> None:
    assert run("projects", "set", project, "--policy", "isolate", "--block", "test", "--no-implicit-links")[0] == 0
    assert run("projects", "set", project, "--max-users-per-anonymous-id", "3")[0] == 0
    (kept,) = (one for one in listed("projects", "list") if one["id"] == project)
    assert (kept["policy"], kept["implicit_links"]) == ("isolate", False)
    assert (kept["max_users_per_anonymous_id"], kept["blocked_ids"]) == (3, ["test"])


def test_project_that_is_there_is_not_made_again(project: str) -> None:
    code, _, err = run("projects", "create", project)
    assert code == 1
    assert "is there" in err


def test_migrate_can_be_repeated() -> None:
    assert run("migrate")[0] == 0
    assert run("migrate") == (0, "the store is of this version\n", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "a\tb\n1\tx\n2\tx\n"),
        (("--json",), '{"a":1,"b":"x"}\n{"a":2,"b":"x"}\n'),
        (("--format", "CSV"), '1,"x"\n2,"x"\n'),
    ],
)
def test_answer_comes_in_the_format_that_was_asked_for(options: tuple[str, ...], expected: str) -> None:
    query = "SELECT toUInt8(number + 1) AS a, 'x' AS b FROM numbers(2);"
    assert run("sql", query, *options) == (0, expected, "")
    assert run("sql", "-", *options, stdin=query) == (0, expected, "")


def test_large_answer_comes_whole() -> None:
    code, out, _ = run("sql", "SELECT number FROM numbers(300000)", "--format", "TSV")
    assert code == 0
    assert out == "".join(f"{n}\n" for n in range(300000))


def test_wrong_query_is_told_in_one_line_with_the_engines_code() -> None:
    code, out, err = run("sql", "SELECT nothing_of_that_name")
    assert (code, out) == (1, "")
    assert "code 47" in err
    assert len(err.splitlines()) == 1


def test_empty_query_is_wrong_usage() -> None:
    assert run("sql", " ; ")[0] == 2
    assert run("sql", "-", stdin="")[0] == 2
    assert run("sql", "SELECT 1", "--json", "--format", "CSV")[0] == 2


def test_reader_that_goes_away_ends_a_long_answer_quietly() -> None:
    """As `whipstitch sql … | head -1` does."""
    asked = subprocess.Popen(
        [WHIPSTITCH, "sql", "SELECT number FROM numbers(3000000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asked.stdout
    assert asked.stderr
    assert asked.stdout.readline() == "number\n"
    asked.stdout.close()
    assert asked.stderr.read() == ""
    asked.stderr.close()
    asked.wait(30)


def test_doctor_tells_each_part_that_does_not_run_and_finds_the_rest_well() -> None:
    assert run("migrate")[0] == 0
    (told,) = [json.loads(line) for line in run("doctor", "--json")[1].splitlines()]
    well = {check["name"]: check["is_well"] for check in told["checks"]}
    assert not told["ok"]
    assert well == {
        "versions": True,
        "compiled": True,
        "disk": True,
        "kafka": True,
        "topics": True,
        "worker": False,
        "store": True,
        "tables": True,
        "clock": True,
        "ingress": False,
    }


def test_doctor_tells_workers_that_run_from_workers_that_ran(kafka: RunningKafka) -> None:
    async def member(then: Callable[[], bool]) -> bool:
        consumer = AIOKafkaConsumer(STITCHED, bootstrap_servers=kafka.bootstrap, group_id=WORKER_GROUP)
        await consumer.start()
        try:
            await consumer.commit({TopicPartition(STITCHED, 0): 0})
            return await asyncio.to_thread(then)
        finally:
            await consumer.stop()

    assert asyncio.run(member(worker_is_well))
    assert not worker_is_well()


def worker_is_well() -> bool:
    return any(check.name == "worker" and check.is_well for check in checks.kafka(load()))


def test_doctor_works_where_the_settings_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIPSTITCH_PORT", "many")
    code, out, _ = run("doctor")
    assert code == 1
    assert "WRONG  settings  WHIPSTITCH_PORT: " in out


def test_store_runs_on_its_own_and_ends_on_sigterm() -> None:
    store = subprocess.Popen([WHIPSTITCH, "store"], stdout=subprocess.PIPE, text=True)
    assert store.stdout
    assert store.stdout.readline().startswith("ready http://127.0.0.1:")
    store.send_signal(signal.SIGTERM)
    assert store.wait(60) == 0
    store.stdout.close()
