"""Settings: read once from the environment and `whipstitch.toml`, checked whole, then passed in frozen.

An environment variable wins over the file. Names are the same in both: `WHIPSTITCH_PORT=8080` or
`WHIPSTITCH_PORT = 8080`. Every problem is told at once, as `SettingsError`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

PREFIX = "WHIPSTITCH_"
FILE = Path("whipstitch.toml")
EMBEDDED = "embedded"

_STORE_SCHEMES = ("clickhouse", "clickhouses", "http", "https")


class SettingsError(Exception):
    """The settings do not make sense; the message lists every problem, one a line. Retrying will not help."""


class Settings(BaseModel):
    """One frozen value that every process is given. Field names are the settings' names without `WHIPSTITCH_`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    kafka: str = Field(EMBEDDED, description="bootstrap servers, `host:port,host:port`, or `embedded`")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients talk to Kafka"
    )
    kafka_security_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="SASL mechanism, where the protocol is a SASL one"
    )
    kafka_security_username: str | None = Field(None, description="SASL user")
    kafka_security_password: str | None = Field(None, description="SASL password", repr=False)
    kafka_security_ca_file: Path | None = Field(
        None, description="CA certificates (PEM) for TLS; the system's if unset"
    )
    store: str = Field(
        EMBEDDED,
        description="`clickhouse://user:password@host:9000/database`, the same with `http` and 8123, or `embedded`",
        repr=False,
    )
    host: str = Field("127.0.0.1", description="address that the ingress listens on")
    port: int = Field(8080, ge=1, le=65535, description="port that the ingress listens on")
    data: Path = Field(Path(".whipstitch"), description="folder for everything that the embedded parts keep")
    cache: Path | None = Field(None, description="folder for Kafka's jars; the user's cache folder if unset")
    java: Path | None = Field(None, description="a `java` program for the embedded Kafka; else the bundled one")
    partitions: int = Field(8, ge=1, le=1024, description="partitions of each data topic, used when they are created")
    replication: int = Field(1, ge=1, le=9, description="replicas of each topic, used when they are created")
    raw_retention_s: int = Field(365 * 86400, ge=3600, description="seconds that `events.raw` is kept")
    dedupe_window_s: int = Field(86400, ge=60, le=30 * 86400, description="seconds that a messageId is remembered")
    max_event_bytes: int = Field(32 * 1024, ge=1024, le=512 * 1024, description="largest event, in bytes of JSON")
    max_batch_bytes: int = Field(500 * 1024, ge=1024, le=16 * 1024 * 1024, description="largest batch body, in bytes")
    max_batch_events: int = Field(2500, ge=1, le=100_000, description="most events in one batch request")
    worker_id: str | None = Field(
        None, min_length=1, description="a name of its own that this worker keeps over restarts, so that they are quick"
    )
    stuck_after_s: int = Field(
        600, ge=30, description="seconds without progress after which a worker that has work ends, to be started again"
    )
    rejection_limit: float = Field(
        0.5, gt=0, le=1, description="share of refused events, of all senders but the worst, at which a worker stops"
    )
    rejection_limit_events: int = Field(
        10_000,
        ge=100,
        description="events over which that share is taken; as many in 30 s with none accepted stop it too",
    )
    sink_max_rows: int = Field(50_000, ge=1, description="rows at which the sink inserts")
    sink_max_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="bytes at which the sink inserts")
    sink_max_wait_s: float = Field(0.25, gt=0, le=60, description="seconds after which the sink inserts what it has")

    @field_validator("kafka")
    @classmethod
    def _bootstrap(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",")]
        for server in [] if value == EMBEDDED else servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{server!r} is not host:port; write e.g. kafka-1:9092,kafka-2:9092, or embedded")
        return ",".join(servers)

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        address = urlsplit(value)
        if value != EMBEDDED and not (address.scheme in _STORE_SCHEMES and address.hostname):
            raise ValueError("write clickhouse://user:password@host:9000/database, http://…:8123/database, or embedded")
        return value

    @field_validator("kafka_security_username", "kafka_security_password")
    @classmethod
    def _sasl(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and str(info.data.get("kafka_security_protocol", "")).startswith("SASL"):
            raise ValueError("a SASL protocol needs it")
        return value

    @field_validator("max_batch_bytes")
    @classmethod
    def _batch_holds_an_event(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("max_event_bytes", 0):
            raise ValueError(f"is smaller than {PREFIX}MAX_EVENT_BYTES, so that no batch could hold the largest event")
        return value


def load(environ: Mapping[str, str] = os.environ, file: Path = FILE, **overrides: object) -> Settings:
    """Read, check and freeze the settings; `overrides` (command-line options; None is "not given") win over both.

    Raises SettingsError that names every problem.
    """
    given = {**_from_file(file), **_from_environ(environ), **{k: v for k, v in overrides.items() if v is not None}}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_problem(p["loc"], p["msg"], p["type"]) for p in error.errors())) from None


def as_environ(settings: Settings) -> dict[str, str]:
    """The environment that makes a child process load equal settings."""
    given = settings.model_dump(mode="json", exclude_none=True)
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """A variable that is empty is as good as unset."""
    return {
        name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX) and value
    }


def _from_file(file: Path) -> dict[str, object]:
    if not file.exists():
        return {}
    try:
        read = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from None
    named = [name.upper().removeprefix(PREFIX).lower() for name in read]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise SettingsError(f"{file}: {', '.join(twice)} is there twice, with and without {PREFIX}; keep one")
    return dict(zip(named, read.values(), strict=True))


def _problem(loc: tuple[int | str, ...], message: str, kind: str) -> str:
    name = f"{PREFIX}{str(loc[0]).upper()}"
    if kind == "extra_forbidden":
        return f"{name}: no setting has this name; `whipstitch doctor` lists them"
    return f"{name}: {message.removeprefix('Value error, ')}"
