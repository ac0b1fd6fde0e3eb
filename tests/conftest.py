"""Real parts for every test: one Kafka and one embedded store, started once for each of pytest's processes."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures.kafka", "tests.fixtures.store", "tests.fixtures.system"]

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

# They start `whipstitch up`, which takes a port of its own choice where that is free.
_ONE_AT_A_TIME = ("test_up.py", "test_first_hour.py", "test_chaos.py")
# What takes a minute or more comes first, so that it does not go on alone when all else is done.
_LONGEST_FIRST = (
    *_ONE_AT_A_TIME,
    "test_replay_swap.py",
    "test_replay_run.py",
    "test_worker.py",
    "test_forget.py",
    "test_view_properties.py",
    "test_dedupe_state.py",
    "test_whole_cases.py",
    "test_squash.py",
    "test_replay_under_load.py",
    "test_replay_disk_full.py",
    "test_instructions.py",
    "test_docs_replay.py",
)


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests share a process where there are several (those of a module, as they share what they start), and in
    which order they come."""
    items.sort(key=lambda item: _place(Path(item.path).name))
    for item in items:
        group = "up" if Path(item.path).name in _ONE_AT_A_TIME else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def _place(module: str) -> int:
    return _LONGEST_FIRST.index(module) if module in _LONGEST_FIRST else len(_LONGEST_FIRST)
