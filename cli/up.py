"""`up`: everything in one go, in the foreground, until Ctrl-C.

Leaves on stdout: at the first start the keys and how to use them, then `ready http://…`, once an event that is sent
is going to be stored. On stderr: what is under way. Guarantees: every part that it started has ended when it ends;
what a killed `up` left running is stopped by the next one; a part that dies is started again.

Little is imported here: the parts are to start before anything else is loaded.
"""

import errno
import http.client
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

import click

from cli.problems import telling
from embedded.errors import EmbeddedError
from embedded.parts import Files, clear, parts
from embedded.process import FolderLock
from embedded.supervisor import Died, Lost, Refused, Started, StopAsked, Supervisor
from pipeline.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from cli.first_start import Keys

POLL_S = 0.05
MOST_DEATHS_AT_START = 3
GIVE_UP_STARTING_AFTER_S = 10.0
ENGINES = ("kafka", "store")
_BEGAN_AT_S = time.monotonic()


class _StopAskedFor(Exception):
    """Somebody asked all of it to end; unwinds to where it is stopped."""


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for all that is kept.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port that events are sent to.")
@telling(SettingsError, EmbeddedError)
def up(data: Path | None, port: int | None) -> None:
    """Start everything in one go, and take events: Kafka and the store where none is configured, ingress and worker.

    Ctrl-C stops it all in order; what it holds is there again at the next start.

    \b
    Example:
      whipstitch up --data /var/lib/whipstitch --port 9000
    """
    settings = load(data=data, port=port)
    settings = settings.model_copy(update={"data": settings.data.absolute()})
    with FolderLock(settings.data):
        for name in clear(settings):
            _say(f"stopped the {name} that an earlier run left behind")
        _check_port(settings)
        supervisor = Supervisor(parts(settings, _say))
        _on_signals(supervisor)
        try:
            _Run(settings, supervisor).until_asked_to_stop()
        except _StopAskedFor:
            _say("stopping; Ctrl-C again kills")
        finally:
            supervisor.stop(lambda name: _say(f"{name} has stopped"), GIVE_UP_STARTING_AFTER_S)


class _Run:
    """One run, from the first start to the request to stop."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._files = Files(settings.data)
        self._supervisor = supervisor
        self._is_ready = False

    def until_asked_to_stop(self) -> None:
        """Raises _StopAskedFor in the end, or what kept it from starting."""
        # Step 1: everything starts at once; what an engine is to hold is made as soon as it answers.
        self._supervisor.start()
        from cli import first_start

        prepare = {"kafka": first_start.make_topics, "store": first_start.make_tables}
        for engine in self._engines_as_they_answer():
            prepare[engine](self._settings, _say)
        # Step 2: worker and ingress, loaded by now, go on.
        self._files.may_start.touch()
        keys = first_start.make_project(self._settings)
        # Step 3: an event that is sent now will be stored.
        while not (self._files.worker_ready.exists() and _takes_events(self._settings)):
            self._next_started(POLL_S)
        self._is_ready = True
        _print_usage(self._settings, keys)
        # Step 4: whatever dies is started again.
        while True:
            self._next_started(None)

    def _engines_as_they_answer(self) -> Iterator[str]:
        awaited = {name for name in ENGINES if name in self._supervisor.names}
        yield from (name for name in ENGINES if name not in awaited)
        while awaited:
            started = self._next_started(None)
            if started in awaited:
                awaited.remove(started)
                yield started

    def _next_started(self, timeout_s: float | None) -> str | None:
        """Wait for the next change and settle it; the name of the part where one has started."""
        try:
            change = self._supervisor.inbox.get(timeout=timeout_s)
        except Empty:
            return None
        match change:
            case Started(part, took_s):
                if part in ENGINES:
                    _say(f"{part} answers, {took_s:.1f} s after its start")
                elif self._is_ready:
                    _say(f"{part} was started again")
                return part
            case Died(part, code, deaths, retry_in_s, last_words):
                log = f"its log is {self._files.log(part)}, and ends:\n{last_words}"
                if not self._is_ready and deaths >= MOST_DEATHS_AT_START:
                    raise EmbeddedError(f"{part}: died {deaths} times while starting; {log}")
                what_now = (
                    "stays down until the next `up`" if retry_in_s is None else f"starts again in {retry_in_s:g} s"
                )
                _say(f"{part} died (code {code}) and {what_now}; {log}")
            case Refused(part, problem, retry_in_s):
                if not self._is_ready:
                    raise EmbeddedError(problem)
                _say(f"{part} did not start, tried again in {retry_in_s:g} s; {problem}")
            case Lost(part):
                raise RuntimeError(f"{part}: its thread has ended; the traceback above says why")
            case StopAsked():
                raise _StopAskedFor
        return None


def _check_port(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            advice = "stop what listens there, or" if error.errno == errno.EADDRINUSE else "choose another host, or"
            raise EmbeddedError(
                f"{settings.host}:{settings.port}: {os.strerror(error.errno or 0)}; {advice} choose a port with --port"
            ) from None


def _on_signals(supervisor: Supervisor) -> None:
    """The first asks to stop, the same one again kills. A closed terminal sends several kinds at once: no kill."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if number in asked:
            supervisor.kill()
        elif not asked:
            supervisor.ask_to_stop()
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)


def _takes_events(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(_reachable(settings.host), settings.port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """Where a server that listens on all addresses can be called from this machine."""
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host


def _print_usage(settings: Settings, keys: "Keys | None") -> None:
    url = f"http://{_reachable(settings.host)}:{settings.port}"
    if keys:
        click.echo(f"""\
project default was made; its keys, shown this once:
  secret, for servers           {keys.secret}
  public, for browsers and apps {keys.public}
send an event:
  curl -u {keys.secret}: {url}/v1/track -H 'content-type: application/json' -d '{{"userId":"ann","event":"Hello"}}'
ask for it:
  {_our_command(settings)} sql "SELECT timestamp, user_id, event_name FROM events ORDER BY timestamp"
""")
    click.echo(f"ready {url}")


def _our_command(settings: Settings) -> str:
    """The command line as the person can type it where they are."""
    called = sys.argv[0] if os.path.basename(sys.argv[0]) == "whipstitch" else "whipstitch"
    command = "whipstitch" if shutil.which("whipstitch") == os.path.abspath(called) else os.path.relpath(called)
    if settings.data == load().data.absolute():
        return command
    return f"WHIPSTITCH_DATA={shlex.quote(str(settings.data))} {command}"


def _say(text: str) -> None:
    click.echo(f"{time.monotonic() - _BEGAN_AT_S:6.1f} s  {text}", err=True)
