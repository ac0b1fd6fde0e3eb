"""What a replay changes, as one page that needs nothing else: no script, and nothing that is fetched.

What clients sent is in it, so all of it is escaped, and the page's own policy lets a browser run or load nothing.
"""

from collections.abc import Iterator
from html import escape
from typing import Final

from cli.replay_options import of_what
from cli.replay_tables import Table, tables
from replay.diff import Report
from replay.samples import Sample
from replay.state import Replay

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 600; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; white-space: pre-wrap; }
.was { background: #d333; } .is { background: #3a33; }
"""


def page(replay: Replay, report: Report) -> str:
    title = escape(f"Replay {replay.id}: {of_what(replay)}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            *_body(report),
            "</body></html>\n",
        ]
    )


def _body(report: Report) -> Iterator[str]:
    if report.is_empty:
        yield "<p>No difference.</p>"
        return
    for table in tables(report):
        yield _table(table)
    if report.samples:
        yield "<h2>Samples</h2>"
    for sample in report.samples:
        yield _sample(sample)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.heading)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    title = escape(table.title[:1].upper() + table.title[1:])
    return f"<h2>{title}</h2>\n<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _cell(text: str) -> str:
    kind = ' class="number"' if text.replace(",", "").isdecimal() else ""
    return f"<td{kind}>{escape(text)}</td>"


def _sample(sample: Sample) -> str:
    rows = "\n".join(
        f"<tr><td>{escape(name)}</td><td>{_value('was', before)}</td><td>{_value('is', after)}</td></tr>"
        for name, (before, after) in sample.columns.items()
    )
    what = escape(f"{sample.kind}: {sample.name} of {sample.project_id}, message {sample.message_id}")
    head = '<th scope="col">column</th><th scope="col">before</th><th scope="col">after</th>'
    return (
        f"<details open><summary>{what}</summary>\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table></details>"
    )


def _value(kind: str, value: str | None) -> str:
    return "" if value is None else f'<code class="{kind}">{escape(value)}</code>'
