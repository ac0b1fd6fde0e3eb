"""What a browser is told of who may read an answer, by the origins that each key lists.

A public key without origins may be used from anywhere, as Segment's may: it stands in every page's source. A secret
key has no business in a browser: it is taken, but no page may read the answer.

Credentials (cookies) are admitted on Mixpanel's paths alone: its browser client sends every request "with credentials",
and where the answer does not admit them it reads a failure and sends all of it again. Nothing that a browser adds by
itself says who may do what here: a key is in the request or it is not.
"""

from ingress.contract import Answer, Headers
from pipeline.directory import Directory
from topics.control import Key

ANY = "*"
_ALLOWED_HEADERS = (
    b"Authorization, Content-Type, Content-Encoding, X-Strict-Mode, AnonymousId, SentAt, Idempotency-Key, Accept"
)
_EXPOSED_HEADERS = b"Retry-After, X-RateLimit-Reset"
# How long a browser may rely on a preflight's answer; a key's origins may change meanwhile.
_MAX_AGE_S = 600

_VARY = (b"vary", b"Origin")
_CREDENTIALS = (b"access-control-allow-credentials", b"true")


def may_send(key: Key, origin: bytes | None) -> bool:
    """Whether the key may be used by who says to be this origin, or says nothing. Only browsers can be held to it."""
    return origin is None or key.kind == "secret" or not key.origins or _listed(key.origins, origin)


class Origins:
    """Which origins any key allows, for requests that name no key; counted anew when the directory has changed."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._allowed: frozenset[str] = frozenset()

    def allowed_by(self, key: Key | None, directory: Directory) -> frozenset[str]:
        """The origins that this key allows; where the key is not known, those that some key allows."""
        if key is not None:
            return _allowed(key)
        if directory is not self._directory:
            self._allowed = frozenset().union(*map(_allowed, directory.keys.values()))
            self._directory = directory
        return self._allowed


def readable(answer: Answer, origin: bytes, allowed: frozenset[str], *, with_credentials: bool = False) -> Answer:
    """The same answer, which this origin may read if it is among those allowed."""
    return Answer(answer.status, answer.body, (*answer.headers, *_headers(origin, allowed, with_credentials)))


def preflight(origin: bytes, allowed: frozenset[str], methods: bytes) -> Answer:
    """What a browser asks before a request that a plain form could not send."""
    granted = _headers(origin, allowed)
    if len(granted) > 1:
        granted += (
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", b"%d" % _MAX_AGE_S),
        )
    return Answer(204, b"", ((b"allow", methods), *granted))


def _headers(origin: bytes, allowed: frozenset[str], with_credentials: bool = False) -> Headers:
    if not _listed(allowed, origin):
        return (_VARY,)
    admitted = b"*" if ANY in allowed and not with_credentials else origin
    granted = (
        _VARY,
        (b"access-control-allow-origin", admitted),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
    )
    return (*granted, _CREDENTIALS) if with_credentials else granted


def _allowed(key: Key) -> frozenset[str]:
    if key.origins:
        return frozenset(map(_folded, key.origins))
    return frozenset((ANY,)) if key.kind == "public" else frozenset()


def _listed(origins: tuple[str, ...] | frozenset[str], origin: bytes) -> bool:
    said = _folded(origin.decode("latin-1"))
    return any(each == ANY or _folded(each) == said for each in origins)


def _folded(origin: str) -> str:
    return origin.strip().rstrip("/").lower()
