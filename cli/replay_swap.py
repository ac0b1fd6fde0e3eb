"""`replay swap`: makes what a replay decided live, while events go on coming in."""

import asyncio

import click

from broker.errors import BrokerError
from cli import control
from cli.options import max_standstill_option
from cli.problems import telling
from cli.replay_options import of_what, replay_argument
from cli.replay_progress import progress
from cli.stage import stage
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load
from replay import run, state
from replay.errors import Interrupted, ReplayError
from replay.shadow import open_shadow
from replay.state import Replay, Status
from replay.swap import Swap
from store.client import open_store
from store.errors import StoreError


@click.command()
@replay_argument
@click.option("--keep", is_flag=True, help="Keep what was live before, for --back; it takes as much room again.")
@click.option("--back", is_flag=True, help="Make what was live before the swap live again.")
@max_standstill_option
@telling(SettingsError, EmbeddedError, BrokerError, StoreError, ReplayError)
def swap(replay_id: str | None, keep: bool, back: bool, max_standstill_s: float) -> None:
    """Make a finished replay live. Events may come in all the while: none is lost, and none is seen twice.

    A worker must be running. If it is stopped half way, repeat it: it goes on.

    \b
    Example:
      whipstitch replay swap --keep
    """
    if keep and back:
        raise click.UsageError("--back keeps both sides anyway: say either --keep or --back")
    settings = resolve(load(), "kafka", "store")
    live = open_store(settings.store)
    replay = state.chosen(state.replays(live, settings.store), replay_id)
    shadow = open_shadow(settings.store, replay.id)
    replayer = run.replayer(settings, control.directory(settings), progress)
    swapping = Swap(replayer, settings, live, shadow, stage, max_standstill_s)
    try:
        asyncio.run(swapping.back(replay) if back else swapping.swap(replay, keep=keep))
    except (BrokerError, StoreError) as error:
        raise Interrupted(f"{error}; {_how_far(replay)}") from error
    click.echo(_done(replay, keep=keep, back=back))


def _how_far(before: Replay) -> str:
    if before.status in (Status.SWAPPING, Status.SWAPPING_BACK):
        return "the swap is not done: repeat the command"
    return "the swap is not done, `whipstitch replay status` says whether it is begun: repeat the command"


def _done(replay: Replay, *, keep: bool, back: bool) -> str:
    if back:
        return f"replay {replay.id}: what was live before it is live again; {of_what(replay)}"
    kept = "; `whipstitch replay swap --back` takes it back, `whipstitch replay abort` drops what was before"
    return f"replay {replay.id} is live: {of_what(replay)}{kept if keep else ''}"
