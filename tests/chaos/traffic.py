"""What clients send: seeded requests of many small families of ids, each of which knows nothing of the others.

A family has a few anonymous ids and users, and every kind of call that says who is who. What it comes to can be
computed from its own messages alone, so that the reference model stays quick however long the run is. A messageId is
`FAMILY.NUMBER`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from topics.control import Key, KeyKind, Project, key_hash, key_hint, new_key

PROJECTS = (
    Project("shop", 0),
    Project("app", 0, policy="last_wins", implicit_links=False),
    Project(
        "kiosk", 0, policy="isolate", max_users_per_anonymous_id=2, blocked_ids=("Tester",), public_user_edges=True
    ),
)
PROBED = Project("probed", 0)
SHIFTED = Project("shifted", 0)
EVERY_PROJECT = (*PROJECTS, PROBED, SHIFTED)

_FAMILIES_AT_ONCE = 40
_CALLS_OF_A_FAMILY = (20, 80)
_LARGEST_BATCH = 20
_LATEST_S = 900
_KINDS = (
    *("track",) * 8,
    *("identify",) * 4,
    *("both",) * 3,
    *("reset",) * 2,
    *("alias", "alias", "alias of own", "unalias", "merge", "merge", "unmerge", "page", "group", "user"),
    *("nobody", "nameless", "blocked"),
)

KeyRing = Mapping[tuple[str, KeyKind], str]
"""The secret of each project's two keys."""


@dataclass(frozen=True, slots=True)
class Request:
    """`ids` are the (project, messageId) of its events; `sent` is what goes over the socket."""

    ids: tuple[tuple[str, str], ...]
    sent: bytes


@dataclass(slots=True)
class _Family:
    name: str
    calls_left: int
    calls_made: int = 0


def new_keys(projects: Sequence[Project] = EVERY_PROJECT) -> tuple[KeyRing, list[Key]]:
    """Secrets, and the records that make them known."""
    kinds: tuple[KeyKind, ...] = ("secret", "public")
    ring = {(project.id, kind): new_key(kind) for project in projects for kind in kinds}
    records = [
        Key(key_hash(secret), key_hint(secret), project_id, kind, 0, origins=("*",))
        for (project_id, kind), secret in ring.items()
    ]
    return ring, records


@dataclass
class Traffic:
    """An endless sequence of requests. The same seed makes the same sequence, but for the keys and the time of day."""

    seed: int
    keys: KeyRing
    _pick: Random = field(init=False)
    _families: dict[str, list[_Family]] = field(init=False)
    _born: int = 0

    def __post_init__(self) -> None:
        self._pick = Random(f"traffic {self.seed}")
        self._families = {project.id: [] for project in PROJECTS}

    def request(self, now_ms: int) -> Request:
        pick = self._pick
        project_id = pick.choice(PROJECTS).id
        kind: KeyKind = "public" if pick.random() < 0.2 else "secret"
        calls = [self._call(project_id, now_ms) for _ in range(self._size())]
        ids = tuple((project_id, str(call["messageId"])) for call in calls)
        if len(calls) == 1:
            call = calls[0]
            return Request(ids, post(f"/v1/{call.pop('type')}", call, self.keys[project_id, kind]))
        return Request(ids, post("/v1/batch", {"batch": calls}, self.keys[project_id, kind]))

    def _size(self) -> int:
        return 1 if self._pick.random() < 0.4 else self._pick.randint(2, _LARGEST_BATCH)

    def _call(self, project_id: str, now_ms: int) -> dict[str, object]:
        family = self._family(project_id)
        family.calls_made += 1
        family.calls_left -= 1
        call = family_call(self._pick, family.name, family.calls_made, now_ms)
        if self._pick.random() < 0.02:
            call["context"] = {"filler": "x" * self._pick.randint(1000, 8000)}
        return call

    def _family(self, project_id: str) -> _Family:
        families = self._families[project_id]
        families[:] = [family for family in families if family.calls_left > 0]
        while len(families) < _FAMILIES_AT_ONCE:
            self._born += 1
            families.append(_Family(f"f{self._born}", self._pick.randint(*_CALLS_OF_A_FAMILY)))
        return self._pick.choice(families)


def family_call(pick: Random, family: str, number: int, now_ms: int) -> dict[str, object]:
    """One call of a family, as its client writes it."""
    anonymous, user = f"{family}.a{pick.randrange(3)}", f"{family}.u{pick.randrange(4)}"
    other = f"{family}.u{pick.randrange(4)}"
    call: dict[str, object] = {"type": "track", "messageId": f"{family}.{number}", **_clock(pick, now_ms)}
    match pick.choice(_KINDS):
        case "track":
            said = {"event": "Viewed", "anonymousId": anonymous, "properties": {"price": number, "plan": "pro"}}
        case "page":
            said = {"type": "page", "anonymousId": anonymous, "properties": {"url": "https://shop.example/"}}
        case "group":
            said = {"type": "group", "anonymousId": anonymous, "groupId": "g", "userId": user}
        case "identify":
            said = {"type": "identify", "anonymousId": anonymous, "userId": user, "traits": {"n": number}}
        case "both":
            said = {"event": "Bought", "anonymousId": anonymous, "userId": user}
        case "user":
            said = {"event": "Bought", "userId": user}
        case "reset":
            said = {"event": "$reset", "anonymousId": anonymous}
        case "alias":
            said = {"type": "alias", "previousId": pick.choice([other, anonymous]), "userId": user}
        case "alias of own":
            said = {"type": "alias", "previousId": anonymous, "userId": user, "anonymousId": anonymous}
        case "unalias":
            said = {"event": "$unalias", "previousId": other, "userId": user}
        case "merge" | "unmerge" as name:
            said = {"event": f"${name}", "properties": {"$distinct_ids": [user, other]}}
        case "nobody":
            said = {"event": "Viewed"}
        case "nameless":
            said = {"anonymousId": anonymous}
        case _:
            said = {"type": "identify", "anonymousId": anonymous, "userId": pick.choice(["null", "Tester", "0"])}
    return call | said


def post(path: str, body: object, secret: str) -> bytes:
    """The bytes of one HTTP request."""
    content = json.dumps(body).encode()
    credentials = base64.b64encode(f"{secret}:".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _clock(pick: Random, now_ms: int) -> dict[str, str]:
    """A client that says when it happened, perhaps by a clock that is wrong and says so, or one that does not say."""
    happened_ms = now_ms - pick.randrange(_LATEST_S * 1000)
    match pick.choice(["said", "said", "silent", "sent"]):
        case "said":
            return {"timestamp": _instant(happened_ms)}
        case "sent":
            off_ms = pick.choice([-86_400_000, 0, 7_200_000])
            return {"originalTimestamp": _instant(happened_ms + off_ms), "sentAt": _instant(now_ms + off_ms)}
        case _:
            return {}


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
