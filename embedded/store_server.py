"""The embedded store's process: `python -m embedded.store_server --data DIR --listener FD`.

Opens the folder, and answers on ClickHouse's HTTP interface at a socket that it is given, where its parent listens
already: nobody else can come to that port first. SIGTERM or SIGINT end it with 0: then statements that run finish, new
connections are refused, and the folder is closed.
"""

import argparse
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import uvicorn

from embedded.clickhouse_http import ClickHouseHTTP
from embedded.engine import Engine
from embedded.errors import EmbeddedError

FINISH_WITHIN_S = 20
OPEN_FILES = 65_536


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m embedded.store_server")
    options.add_argument("--data", type=Path, required=True, help="folder that holds the store")
    options.add_argument("--listener", type=int, required=True, help="open file that is a listening socket")
    given = options.parse_args()
    _allow_open_files()
    try:
        engine = Engine.open(given.data, _give_up)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    _serve(engine, socket.socket(fileno=given.listener))
    return 0


def _serve(engine: Engine, listener: socket.socket) -> None:
    application = ClickHouseHTTP(engine)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, _ignore)  # uvicorn raises what it caught once more when it is done
    uvicorn.Server(config).run(sockets=[listener])
    application.close()
    engine.close()


def _give_up(problem: str) -> NoReturn:
    """End at once: what is not confirmed yet must not be."""
    print(f"store: {problem}", file=sys.stderr, flush=True)
    os._exit(os.EX_IOERR)


def _allow_open_files() -> None:
    """The engine keeps a file open for each column that it reads, and three for each of its threads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _ignore(signal_number: int, frame: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
