"""docs/http.md says what is so: every path, every code with its status and words, every limit's setting."""

import re
from pathlib import Path

from ingress.errors import Problem
from ingress.health import Health
from ingress.metrics import METRICS
from ingress.server import served_routes
from pipeline.settings import PREFIX, Settings

DOCS = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
PATHS = {path.rstrip("/") for _, path in (*served_routes(Settings.model_validate({})), *Health().pages(), METRICS)}


def test_every_path_is_in_the_docs_and_no_other() -> None:
    documented = {path.rstrip("/") for path in re.findall(r"(?<=[` ])(/[\w/.{}-]+)(?=\?|`)", DOCS)}
    assert documented == {*PATHS, "/openapi.json"}


def test_every_code_is_in_the_docs_as_it_is_told() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", DOCS, re.MULTILINE)
    assert rows == [(problem.tag, str(problem.status), problem.message) for problem in Problem]


def test_settings_in_the_docs_exist() -> None:
    named = set(re.findall(rf"`{PREFIX}(\w+)`", DOCS))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
