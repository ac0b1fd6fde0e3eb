"""The requests of the fuzzer: number `n` of a seed is the same on every machine.

Arrives: a seed, a number, the keys. Leaves: the bytes to send. What a client would send is the start; then path,
credentials, headers, members, bytes and encoding are changed, each now and then.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from urllib.parse import quote

import cramjam

from tests.fuzz.values import MARK, ODD_BODIES, cut_or_scratched, event

_BOMB_BYTES = 30_000_000


@dataclass(frozen=True)
class Keys:
    """Secrets that exist."""

    public: str
    secret: str
    bound: str
    admin: str


@dataclass(frozen=True)
class FuzzRequest:
    """`message_ids` are those that must be found again if the answer is 2xx; empty where that is not known."""

    method: str
    path: str
    sent: bytes
    message_ids: frozenset[str] = frozenset()


def request(seed: int, number: int, keys: Keys, paths: Sequence[tuple[str, str]]) -> FuzzRequest:
    """One of the requests to these paths (method and path)."""
    pick = Random(f"{seed}/{number}")
    method, path = _target(pick, keys, paths)
    credentials = _credentials(pick, keys)
    body, message_ids = _body(pick, f"f{seed}-{number}", path, keys)
    packed, encoding = _packed(pick, body)
    headers = [*credentials, *_headers(pick), *([(b"Content-Encoding", encoding)] if encoding else [])]
    if packed is not body and pick.random() < 0.15:
        packed = cut_or_scratched(pick, packed)
        message_ids = frozenset()
    if not path.startswith(("/v1/", "/beacon/")):
        message_ids = frozenset()  # Mixpanel's paths read another meaning into a batch
    return FuzzRequest(method, path, _framed(pick, method, path, headers, packed), message_ids)


_SHARED = (("POST", "/v1/identify"), ("POST", "/v1/track"), ("POST", "/v1/batch"))


def _target(pick: Random, keys: Keys, paths: Sequence[tuple[str, str]]) -> tuple[str, str]:
    method, path = pick.choice(_SHARED if pick.random() < 0.2 else paths)
    path = path.replace("{writeKey}", pick.choice((keys.public, "wrong", "%ff", "a%2Fb")))
    chance = pick.random()
    if chance < 0.02:
        path = pick.choice(("/", "/v1", "/v1/nothing", "/v1/track//", "/%00", "/v1/../v1/track", "*"))
    elif chance < 0.1:
        path += "?" + pick.choice(
            ("", "&&=", f"writeKey={keys.public}", "verbose=1&ip=1", "strict=1", f"data={MARK}", "%ff=%zz", "a" * 3000)
        )
    if pick.random() < 0.04:
        method = pick.choice(("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "POST"))
    return method, path


def _credentials(pick: Random, keys: Keys) -> list[tuple[bytes, bytes]]:
    secret = pick.choice((*[keys.public] * 3, *[keys.secret] * 6, keys.bound, keys.admin, f"sk_{MARK}", "", "\xff"))
    match pick.randrange(12):
        case 0 | 1 | 2 | 3:
            return [(b"Authorization", b"Basic " + base64.b64encode(secret.encode() + b":"))]
        case 4 | 5 | 6 | 7 | 8:
            return [(b"Authorization", b"Bearer " + secret.encode())]
        case 9:
            odd = (b"Basic", b"Basic \xff", b"Basic A", b"Bearer", b"Digest x", b"\xe9", b"Basic " + b"A" * 9000)
            return [(b"authorization", pick.choice(odd))]
        case _:
            return []


def _headers(pick: Random) -> list[tuple[bytes, bytes]]:
    headers = [
        (
            b"Content-Type",
            pick.choice((b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b"\xff")),
        )
    ]
    for name, values in _HEADERS.items():
        if pick.random() < 0.06:
            headers.append((name, pick.choice(values)))
    return headers


_HEADERS: dict[bytes, tuple[bytes, ...]] = {
    b"Origin": (b"https://shop.example", b"https://evil.example", b"null", b"", b"\xff" * 20),
    b"X-Strict-Mode": (b"1", b"0", b"x"),
    b"SentAt": (b"2026-11-01T00:00:00Z", b"\xff", b"9" * 400, b"never"),
    b"AnonymousId": (base64.b64encode(MARK.encode()), b"\xff"),
    b"User-Agent": (MARK.encode(), b"\xe9" * 2000, b""),
    b"X-Forwarded-Proto": (b"https", b"\xff"),
    b"X-Forwarded-For": (b"203.0.113.7", b"\xff"),
    b"Idempotency-Key": (MARK.encode(),),
    b"Expect": (b"100-continue",),
    b"Content-Encoding": (b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip", b"identity", b"lzma", b"\xff"),
}


def _body(pick: Random, name: str, path: str, keys: Keys) -> tuple[bytes, frozenset[str]]:
    """A body, and the messageIds of its events where it is just as a client would send it."""
    if pick.random() < 0.08:
        return pick.choice(ODD_BODIES), frozenset()
    make = _batch if any(word in path for word in ("batch", "import", "/b")) else _single
    text, ids = make(pick, name, keys)
    body = text.encode("utf-8", "surrogatepass")
    if pick.random() < 0.08:
        return cut_or_scratched(pick, body), frozenset()
    if "track" in path or "engage" in path:
        body = _perhaps_form(pick, body)
    return body, ids


def _single(pick: Random, name: str, keys: Keys) -> tuple[str, frozenset[str]]:
    members = _members(pick, name, keys)
    return event(pick, members), frozenset()


def _batch(pick: Random, name: str, keys: Keys) -> tuple[str, frozenset[str]]:
    count = pick.choice((0, 1, 2, 5, 20, 20, 100))
    if pick.random() < 0.01:
        count = 2501
    if pick.random() < 0.4:
        ids = [f"{name}-{item}" for item in range(count)]
        items = [json.dumps({"type": "page", "anonymousId": MARK, "messageId": each}) for each in ids]
        return '{"batch":[' + ",".join(items) + "]}", frozenset(ids)
    items = [event(pick, _members(pick, f"{name}-{item}", keys)) for item in range(min(count, 20))]
    array = "[" + ",".join(items) + "]"
    word = pick.choice(("batch", "batch", "events"))
    if pick.random() < 0.2:
        return pick.choice((array, "\n".join(items))), frozenset()
    return event(pick, {word: array, "sentAt": '"2026-11-01T00:00:00Z"', "context": "{}"}), frozenset()


def _members(pick: Random, name: str, keys: Keys) -> dict[str, str]:
    person = pick.choice(("ann", "bob", "cyd"))
    match pick.randrange(4):
        case 0 | 1:
            members: dict[str, object] = {
                "type": pick.choice(("identify", "track", "page", "screen", "group", "alias", "delete")),
                "messageId": name,
                "anonymousId": f"{MARK}-{person}",
                "userId": person,
                "event": MARK,
                "groupId": "g",
                "previousId": "p",
                "properties": {"plan": MARK},
                "traits": {"email": f"{MARK}@example.com", "createdAt": "2026-01-01"},
                "context": {"library": {"name": "analytics.js", "version": "4"}, "ip": "203.0.113.9"},
                "timestamp": "2026-11-01T00:00:00.000Z",
            }
            if pick.random() < 0.3:
                members["writeKey"] = pick.choice((keys.public, keys.secret, keys.bound, "wrong"))
        case 2:
            members = {"event": MARK, "event_id": name, "anonymous_id": f"{MARK}-{person}", "user_id": person}
            members |= {"traits": {"plan": MARK}, "properties": {"x": 1}, "url": f"https://shop.example/{MARK}"}
        case _:
            properties = {"token": keys.public, "distinct_id": person, "$insert_id": name, "time": 1_790_000_000}
            members = {"event": pick.choice((MARK, "$identify", "$merge", "$create_alias")), "properties": properties}
    return {key: json.dumps(value) for key, value in members.items()}


def _perhaps_form(pick: Random, body: bytes) -> bytes:
    match pick.randrange(5):
        case 0:
            return b"data=" + quote(base64.b64encode(body)).encode()
        case 1:
            return b"data=" + quote(body).encode() + pick.choice((b"", b"&verbose=1", b"&strict=1&ip=1"))
        case _:
            return body


def _deflated(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


def _zstd(body: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(body))


def _brotli(body: bytes) -> bytes:
    return bytes(cramjam.brotli.compress(body, level=4))


_PACKERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"gzip", lambda body: gzip.compress(body, mtime=0)),
    (b"deflate", zlib.compress),
    (b"deflate", _deflated),
    (b"zstd", _zstd),
    (b"br", _brotli),
)


def _packed(pick: Random, body: bytes) -> tuple[bytes, bytes]:
    """The body compressed or not, and the Content-Encoding that says so, or says something else."""
    chance = pick.random()
    if chance < 0.6:
        return body, b""
    encoding, pack = pick.choice(_PACKERS)
    if chance < 0.605:
        return _bomb(pick.randrange(len(_PACKERS))), encoding
    if chance < 0.65:
        return pack(pick.choice(_PACKERS)[1](body)), pick.choice((encoding, encoding + b", gzip", b""))
    if chance < 0.75:
        return pack(body), pick.choice((b"", b"gzip", b"br", b"identity", b"lzma"))
    return pack(body), encoding


@cache
def _bomb(which: int) -> bytes:
    return _PACKERS[which][1](bytes(_BOMB_BYTES))


def _framed(pick: Random, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: ingress.example"]
    lines += [name + b": " + value for name, value in headers]
    chance = pick.random()
    if chance < 0.01:
        lines += [b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"]
    elif chance < 0.02:
        lines.append(b"Content-Length: " + pick.choice((b"-1", b"x", b"1" * 30, b"99999999999")))
    elif chance < 0.1:
        lines.append(b"Transfer-Encoding: chunked")
        body = _chunked(pick, body)
    else:
        lines.append(b"Content-Length: %d" % len(body))
    if pick.random() < 0.005:
        lines.insert(1, pick.choice((b"\xff: \xff", b"no colon", b": empty", b"X: " + b"y" * 70_000, b"X:\x00")))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _chunked(pick: Random, body: bytes) -> bytes:
    size = pick.choice((1, 100, 5000)) if len(body) < 2000 else 65_536
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
