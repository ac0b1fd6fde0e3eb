"""A short run of the fuzzer on the whole system, from a fixed seed."""

from collections.abc import Iterator

import pytest

from tests.fuzz.requests import Keys, request
from tests.fuzz.run import Outcome, await_settled, fuzz, published_ids, undocumented
from tests.fuzz.system import PROJECT, FuzzedSystem, fuzzed_system
from tests.fuzz.values import MARK

SEED = 20_261
COUNT = 3000


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedSystem]:
    with fuzzed_system(tmp_path_factory.mktemp("fuzzed")) as running:
        yield running


@pytest.fixture(scope="module")
def outcome(fuzzed: FuzzedSystem) -> Outcome:
    return fuzz(fuzzed.ingress.settings.port, SEED, range(COUNT), fuzzed.keys, fuzzed.paths)


def test_no_request_gets_a_5xx_or_two_different_answers(fuzzed: FuzzedSystem, outcome: Outcome) -> None:
    assert outcome.wrong == []
    assert outcome.statuses.total() == 2 * COUNT
    assert fuzzed.ingress.is_ready()
    assert fuzzed.worker.poll() is None


def test_run_reaches_far_enough_to_mean_something(outcome: Outcome) -> None:
    assert {200, 202, 400, 401, 403, 404, 405, 413, 415} <= set(outcome.statuses)
    assert outcome.statuses[200] > COUNT / 4


def test_every_status_is_documented_for_its_path(fuzzed: FuzzedSystem, outcome: Outcome) -> None:
    document = fuzzed.ingress.request("GET", "/openapi.json").json
    assert undocumented(outcome, document["paths"]) == []


def test_what_was_taken_is_stored_or_a_dead_letter(fuzzed: FuzzedSystem, outcome: Outcome) -> None:
    published = published_ids(fuzzed.system.settings, PROJECT)
    assert len(outcome.promised) > 500
    assert outcome.promised <= published
    await_settled(fuzzed.system.store, PROJECT, published, timeout_s=60)


def test_no_key_and_no_value_is_in_any_log(fuzzed: FuzzedSystem, outcome: Outcome) -> None:
    keys = fuzzed.keys
    assert outcome.statuses
    assert fuzzed.in_logs("ready to take events") == ["ready to take events"]
    assert fuzzed.in_logs(MARK, keys.public, keys.secret, keys.bound, keys.admin) == []


def test_number_of_a_seed_is_always_the_same_request() -> None:
    keys, paths = Keys("pk_a", "sk_b", "pk_c", "sk_d"), [("POST", "/v1/track"), ("POST", "/v1/batch")]
    made = [request(7, number, keys, paths) for number in range(50)]
    assert made == [request(7, number, keys, paths) for number in reversed(range(50))][::-1]
    assert len({each.sent for each in made}) == 50
