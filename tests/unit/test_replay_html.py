"""The page of a diff: it shows what the report holds, runs nothing and fetches nothing."""

from html.parser import HTMLParser

from cli.replay_html import page
from replay.diff import ColumnChange, Group, Report, Turned
from replay.moves import Move, Persons
from replay.samples import Sample
from replay.state import Replay

NASTY = '<script src="https://evil.example/x.js">&"\'</script>'
REPLAY = Replay("1a2b3c4d", None, 0, 3_600_000, 0, 86_400, 32_768)
NOTHING = Group("", "", 0, 0, 0)


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: dict[str, set[str | None]] = {}
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report(**given: object) -> Report:
    empty: dict[str, object] = {
        "totals": {"events": NOTHING},
        "events": [],
        "columns": [],
        "samples": [],
        "letters": [],
        "turned": [],
        "links": [],
        "edges": [],
        "persons": Persons(0, 0, ()),
    }
    return Report(**{**empty, **given})  # type: ignore[arg-type]


def nasty() -> Report:
    return report(
        totals={"events": Group("", "", 1, 2, 3456)},
        events=[Group(NASTY, NASTY, 1, 2, 3456)],
        columns=[ColumnChange(NASTY, NASTY, NASTY, 1)],
        samples=[Sample(NASTY, NASTY, NASTY, "changed", {NASTY: (NASTY, None)})],
        letters=[Group(NASTY, NASTY, 1, 0, 0)],
        turned=[Turned(NASTY, NASTY, "passes", 1, [NASTY])],
        links=[Group(NASTY, NASTY, 1, 0, 0)],
        edges=[Group(NASTY, NASTY, 1, 0, 0)],
        persons=Persons(1, 1, (Move(NASTY, NASTY, None, "a", "b", 1, NASTY),)),
    )


def test_whatever_clients_sent_is_text_and_nothing_else() -> None:
    seen = Page(page(REPLAY, nasty()))
    assert "script" not in seen.tags
    assert seen.attributes.keys() <= {"charset", "http-equiv", "content", "lang", "name", "scope", "class", "open"}
    assert seen.open == []
    assert seen.text.count(NASTY) > 10


def test_page_forbids_the_browser_to_run_or_fetch_anything() -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in Page(page(REPLAY, nasty())).attributes["content"]
    assert "http" not in page(REPLAY, report(totals={"events": Group("", "", 1, 0, 0)})).replace("http-equiv", "")


def test_page_of_an_empty_report_says_so() -> None:
    assert "No difference." in Page(page(REPLAY, report())).text


def test_numbers_are_set_apart_by_thousands() -> None:
    assert "3,456" in Page(page(REPLAY, nasty())).text
