"""One Kafka process on one folder: how it is configured, formatted, launched, and asked whether it is there.

Mechanism only: who may use the folder, what runs already and what to do on a failure is decided by the caller.
"""

import io
import os
import shutil
import socket
import struct
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from aiokafka.protocol.api import RequestHeader_v1
from aiokafka.protocol.metadata import MetadataRequest_v2

from embedded import process
from embedded.errors import EmbeddedError
from embedded.jars import RESOURCES
from embedded.java import Java, environment

FORMAT_WITHIN_S = 60
ANSWER_WITHIN_S = 2

# All relative to the folder, the process's own: Kafka splits log.dirs at commas, reads its configuration as Latin-1,
# and log4j takes a % in a file's name for its own.
_CONFIG = "server.properties"
_LOGGING = "log4j2.properties"
_DATA = "log"
_CLUSTER = "meta.properties"
_UNFINISHED = "formatting"


@dataclass(frozen=True, slots=True)
class Ports:
    clients: int
    controller: int


@dataclass(frozen=True, slots=True)
class Installation:
    java: Java
    jars: Sequence[Path]

    def command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        class_path = os.pathsep.join(str(jar) for jar in self.jars)
        return [str(self.java.program), *self.java.options, *options, "-cp", class_path, *arguments]


def format_once(kafka: Installation, folder: Path, options: Sequence[str] = ()) -> None:
    """Make the folder a Kafka node's, where it is not one yet; in one step, so that a crash leaves it as it was."""
    if (folder / _DATA).exists():
        return
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    config = _write_config(folder, Ports(1, 2), _UNFINISHED)
    cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", config)
    try:
        run = subprocess.run(
            kafka.command(*tool, options=options),
            capture_output=True, text=True, errors="replace", timeout=FORMAT_WITHIN_S, env=environment(), cwd=folder,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(
            f"Kafka: cannot format {folder}: {error}; free disk space or memory, and start again"
        ) from error
    if run.returncode:
        raise process.EndedWhileStarting(f"Kafka: cannot format {folder}: {(run.stderr or run.stdout).strip()[-1000:]}")
    (folder / _UNFINISHED).rename(folder / _DATA)


def launch(
    kafka: Installation, folder: Path, ports: Ports, log_file: Path, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the broker on a formatted folder; it answers some time later."""
    config = _write_config(folder, ports, _DATA)
    shutil.copyfile(RESOURCES / _LOGGING, folder / _LOGGING)
    logging = (f"-Dlog4j2.configurationFile={_LOGGING}", f"-Dwhipstitch.log={os.path.relpath(log_file, folder)}")
    command = kafka.command("kafka.Kafka", config, options=(*options, *logging))
    return process.start("Kafka", command, log_file, env=environment(), folder=folder)


def answers(port: int, folder: Path) -> bool:
    """Whether the folder's broker takes requests of clients there: it names itself as a live member of its cluster.
    Another's, which came to the port first, is of another cluster."""
    request = MetadataRequest_v2([])
    message = RequestHeader_v1(request, correlation_id=1, client_id="whipstitch").encode() + request.encode()
    try:
        with socket.create_connection((process.HOST, port), ANSWER_WITHIN_S) as connection:
            connection.sendall(struct.pack(">i", len(message)) + message)
            with connection.makefile("rb") as replies:
                (length,) = struct.unpack(">i", replies.read(4))
                told = MetadataRequest_v2.RESPONSE_TYPE.decode(io.BytesIO(replies.read(length)[4:]))
    except (OSError, struct.error, ValueError):  # nobody is there, or goes before all is said, or says something else
        return False
    is_ours = f"cluster.id={told.cluster_id}" in (folder / _DATA / _CLUSTER).read_text().splitlines()
    return is_ours and any(broker[2] == port for broker in told.brokers)


def _write_config(folder: Path, ports: Ports, data: str) -> str:
    client, controller = f"{process.HOST}:{ports.clients}", f"{process.HOST}:{ports.controller}"
    (folder / _CONFIG).write_text(
        f"{(RESOURCES / _CONFIG).read_text()}\n"
        f"log.dirs={data}\n"
        f"listeners=PLAINTEXT://{client},CONTROLLER://{controller}\n"
        f"advertised.listeners=PLAINTEXT://{client}\n"
        f"controller.quorum.voters=1@{controller}\n"
    )
    return _CONFIG
