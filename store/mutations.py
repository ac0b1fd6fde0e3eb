"""Changes rows by mutations and waits for them: when a call returns, the rows are as asked in every part that is read.

A mutation is of the rows that are there when it is asked for; an insert that comes meanwhile is untouched by it.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from store.client import Store
from store.errors import StoreFailure

Told = Callable[[int], None]
"""Hears how many parts are still to be written anew."""

_CHECK_EVERY_S: Final = 0.05
_UNFINISHED: Final = """
SELECT sum(parts_to_do) AS parts, anyIf(latest_fail_reason, latest_fail_reason != '') AS failed, count() AS mutations
FROM system.mutations
WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done
"""


def delete(store: Store, table: str, where: str, params: Mapping[str, object], told: Told = lambda _: None) -> None:
    """Delete the rows that are there now and fulfil `where`.

    Raises StoreUnavailable (the mutation may go on by itself; a repeat is safe) or StoreFailure.
    """
    mutate(store, table, f"DELETE WHERE {where}", params, told)


def mutate(store: Store, table: str, change: str, params: Mapping[str, object], told: Told = lambda _: None) -> None:
    """Change the rows that are there now; `change` is an ALTER's own text, `UPDATE … WHERE …`. Raises as `delete`."""
    # Not mutations_sync: a server that writes large parts says nothing for longer than any reader waits.
    store.command(f"ALTER TABLE {table} {change} SETTINGS mutations_sync = 0", params)
    wait(store, table, told)


def wait(store: Store, table: str, told: Told = lambda _: None) -> None:
    """Return when no mutation of the table is unfinished. Raises as `delete`."""
    while (unfinished := store.query(_UNFINISHED, {"table": table})[0])["mutations"]:
        if unfinished["failed"]:
            raise StoreFailure(f"cannot change {table}: {unfinished['failed']}; mend that, and repeat it")
        told(int(unfinished["parts"]))
        time.sleep(_CHECK_EVERY_S)
