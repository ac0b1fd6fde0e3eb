"""What the pages name exists: commands, files, settings, reasons, tables."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS
from pipeline.settings import PREFIX, Settings
from topics.names import TOPICS
from topics.rejected import Reason

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]


def named(pattern: str, page: Path) -> set[str]:
    return set(re.findall(pattern, page.read_text()))


def test_the_reasons_of_dead_letters_are_listed_whole() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/dead-letters.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    assert named(r"(?:\.venv/bin/|`)whipstitch ([a-z-]+)", page) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}TEST_CLICKHOUSE"}
    assert named(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", page) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    files = named(r"`((?:topics|pipeline|agents|ingress|store|broker|embedded|cli|bench|tests)/[\w./]*\w)", page)
    missing = [name for name in files if not (ROOT / name.split(":")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = named(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_architecture_names_every_topic_of_events() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert [
        topic.name for topic in TOPICS if topic.name.startswith(("events.", "identity.")) and topic.name not in text
    ] == []
