"""The hot functions take as many instructions as they are known to, within 3 %: a slow-down fails here, by name.

Where a change is meant to cost more, or costs less: `python -m bench.instructions --write`, and commit what it wrote.
"""

import json
import shutil

import pytest

from bench.instructions import EXPECTED, TOLERANCE, counted, counted_with

_EXPECTED = json.loads(EXPECTED.read_text())


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed; apt-get install --no-install-recommends valgrind")
    if counted_with() != _EXPECTED["counted_with"]:
        pytest.skip(f"the counts are of {_EXPECTED['counted_with']}; here is {counted_with()}")
    return counted()


@pytest.mark.parametrize("name", _EXPECTED["an_event"])
def test_function_takes_the_instructions_that_it_is_known_to_take(counts: dict[str, int], name: str) -> None:
    assert counts[name] == pytest.approx(_EXPECTED["an_event"][name], rel=TOLERANCE)
