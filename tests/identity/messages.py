"""Messages as these tests say them, in seconds from one moment on, and each as the record that an ingress publishes."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tests.records import START_MS, TestRecord, raw_call
from topics.control import KeyKind
from topics.keys import record_key
from topics.raw import Dialect, Stamp, stamp_header

DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
"""An anonymous id that Mixpanel takes too."""

Endpoint = Literal["track", "import"]


class Message(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One call. `at` is when its client says it happened (None: it does not say), `sent` its `sentAt`, `received` its
    receipt: seconds after START_MS. With `mixpanel` it is a record of that endpoint, else a call of Segment's."""

    id: str
    type: str = "track"
    event: str = ""
    at: float | None = None
    received: float = 0
    sent: float | None = None
    anonymous: str | None = None
    user: str | None = None
    previous: str | None = None
    both: tuple[str, str] | None = None
    traits: tuple[tuple[str, str], ...] = ()
    key: KeyKind = "secret"
    project: str = "p"
    mixpanel: Endpoint | None = None

    def moved(self, seconds: float) -> "Message":
        """The same, received that much later."""
        return msgspec.structs.replace(self, received=self.received + seconds)


def track(id: str, at: float, anonymous: str | None = None, user: str | None = None, **more: Any) -> Message:
    return Message(**{"id": id, "at": at, "received": at, "anonymous": anonymous, "user": user, "event": "E", **more})


def identify(id: str, at: float, anonymous: str | None, user: str | None, **more: Any) -> Message:
    return track(id, at, anonymous, user, **{"type": "identify", "event": "", **more})


def reset(id: str, at: float, anonymous: str, **more: Any) -> Message:
    return track(id, at, anonymous, **{"event": "$reset", **more})


def alias(id: str, at: float, previous: str, user: str, anonymous: str | None = None, **more: Any) -> Message:
    return track(id, at, anonymous, user, **{"type": "alias", "event": "", "previous": previous, **more})


def unalias(id: str, at: float, previous: str, user: str, anonymous: str | None = None, **more: Any) -> Message:
    return track(id, at, anonymous, user, **{"event": "$unalias", "previous": previous, **more})


def merge(id: str, at: float, one: str, other: str, **more: Any) -> Message:
    return track(id, at, **{"event": "$merge", "both": (one, other), **more})


def unmerge(id: str, at: float, one: str, other: str, **more: Any) -> Message:
    return merge(id, at, one, other, **{"event": "$unmerge", **more})


def mixpanel_identify(id: str, at: float, anonymous: str, user: str, **more: Any) -> Message:
    """Of Mixpanel's original ID merge."""
    return identify(id, at, anonymous, user, **{"mixpanel": "track", **more})


def record(message: Message, prefix: str = "", offset: int = 0) -> TestRecord:
    """As the ingress publishes it; `prefix` is put before the project's id."""
    project_id, at_ms = prefix + message.project, received_ms(message)
    if message.mixpanel is None:
        return raw_call(segment_call(message), at_ms=at_ms, project_id=project_id, offset=offset, key_kind=message.key)
    stamp = Stamp(project_id, message.id, at_ms, dialect=Dialect.MIXPANEL, call=message.mixpanel, key_kind=message.key)
    return TestRecord(
        value=json.dumps(mixpanel_record(message, START_MS)).encode(),
        headers=(stamp_header(stamp),),
        key=record_key(project_id, message.anonymous, message.user, message.id),
        offset=offset,
        timestamp=at_ms,
    )


def received_ms(message: Message) -> int:
    return START_MS + round(message.received * 1000)


def segment_call(message: Message, start_ms: int = START_MS) -> dict[str, Any]:
    """What a client writes; its instants are counted from `start_ms`."""
    call: dict[str, Any] = {
        "type": message.type,
        "messageId": message.id,
        "event": message.event,
        "anonymousId": message.anonymous,
        "userId": message.user,
        "previousId": message.previous,
        "timestamp": _instant(message.at, start_ms),
        "sentAt": _instant(message.sent, start_ms),
        "properties": {"$distinct_ids": message.both} if message.both else None,
        "traits": dict(message.traits),
    }
    return {name: value for name, value in call.items() if value not in (None, "", {})}


def mixpanel_record(message: Message, start_ms: int, **named: str) -> dict[str, Any]:
    """What Mixpanel's clients write; `named` are its token and the like."""
    said: dict[str, Any] = {**named}
    if message.at is not None:
        said["time"] = start_ms + round(message.at * 1000)
    if message.both:
        return {"event": message.event, "properties": {**said, "$distinct_ids": message.both}}
    if message.type == "identify":
        return {
            "event": "$identify",
            "properties": {**said, "$identified_id": message.user, "$anon_id": message.anonymous},
        }
    ids = {"$device_id": message.anonymous, "$user_id": message.user}
    return {
        "event": message.event,
        "properties": {**said, **{name: value for name, value in ids.items() if value is not None}},
    }


def _instant(seconds: float | None, start_ms: int) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(start_ms / 1000 + seconds, UTC).isoformat(timespec="milliseconds")
