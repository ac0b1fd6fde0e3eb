"""Whether the parts that the engine wrote are whole, before anybody relies on them.

chdb (4.4.0 and before) does not tell when a write to the disk failed, as where there is no space: the insert is
confirmed, or the merged parts are let go of, though files of the new part are cut short. The engine's own CHECK TABLE
finds such a part; the engine's own start sets it aside, and takes again the parts that it was merged from, which stay
on the disk for eight minutes. So what is inserted is checked before it is confirmed, what is merged soon after, and a
process that finds a part cut short gives up, to be started again.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, NoReturn

from embedded.connection import EngineError, connect, engine_errors, identifier, quoted

GiveUp = Callable[[str], NoReturn]

# UNKNOWN_TABLE and NO_SUCH_DATA_PART: merged, renamed or dropped meanwhile; what is there instead has its own turn.
_GONE = {60, 232}
_INSERTED = "min_block_number = max_block_number"
_ANY = "1"


class _Part(NamedTuple):
    """`path` is the part's own, wherever its table is renamed to."""

    path: str
    database: str
    table: str
    name: str


class WholeParts:
    """Of the parts that are there when it is made, the engine has just compared the sizes. `give_up` is told what was
    found, and does not return."""

    def __init__(self, give_up: GiveUp) -> None:
        self._give_up = give_up
        self._checked = {part.path for part in _active(_ANY)}

    def check_inserted(self) -> None:
        """Before an insert is confirmed. Raises EngineError where it cannot be told; a retry is safe."""
        self._check(_active(_INSERTED))

    def check_all(self) -> None:
        """Within minutes of each merge. Raises EngineError where it cannot be told."""
        parts = _active(_ANY)
        self._check(parts)
        self._checked &= {part.path for part in parts}

    def _check(self, parts: list[_Part]) -> None:
        for part in parts:
            if part.path not in self._checked:
                self._check_part(part)

    def _check_part(self, part: _Part) -> None:
        of = f"{identifier(part.database)}.{identifier(part.table)} PART {quoted(part.name)}"
        try:
            [[_, is_whole, problem]] = _rows(f"CHECK TABLE {of} SETTINGS check_query_single_value_result = 0")
        except EngineError as error:
            if error.code not in _GONE:
                raise
            return
        if not is_whole:
            self._give_up(f"the disk did not take all of {part.path} ({problem}); a new start sets it aside")
        self._checked.add(part.path)


def forget_inserts_set_aside() -> None:
    """At the start, before any statement: who sent an insert whose part the engine has set aside was told nothing, and
    sends it again under the same token. The table must not know that token any more."""
    set_aside: dict[tuple[str, str], list[Path]] = {}
    for database, table, path in _rows(
        "SELECT database, table, path FROM system.detached_parts WHERE reason = 'broken-on-start'"
    ):
        set_aside.setdefault((str(database), str(table)), []).append(Path(str(path)))
    for (database, table), parts in set_aside.items():
        _forget_tokens(f"{identifier(database)}.{identifier(table)}", parts[0].parents[1])
        for part in parts:
            part.rename(part.with_name(part.name.replace("broken-on-start", "cut-short")))


def _forget_tokens(table: str, folder: Path) -> None:
    """All of them, as the engine cannot take back one. A repeat under a token that was forgotten is stored twice, and
    the views show it once."""
    _rows(f"DETACH TABLE {table} SYNC")
    if (known := folder / "deduplication_logs").exists():
        shutil.rmtree(known)
    _rows(f"ATTACH TABLE {table}")


def _active(which: str) -> list[_Part]:
    return [
        _Part(*map(str, row))
        for row in _rows(f"SELECT path, database, table, name FROM system.parts WHERE active AND {which}")
    ]


def _rows(sql: str) -> list[list[object]]:
    # Without a current database: each can have been dropped.
    with closing(connect()) as connection, engine_errors():
        answer = bytes(connection.query(sql, "JSONCompactEachRow").bytes())
    return [json.loads(line) for line in answer.splitlines()]
