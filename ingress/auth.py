"""Which key a request comes with, and whether it may send events."""

import binascii
import re
from urllib.parse import parse_qsl

from ingress.cors import may_send
from ingress.errors import Problem
from pipeline.directory import Directory
from topics.control import Key

_QUERY_NAMES = ("writeKey", "token")
_IN_PATH = re.compile(r"/v1/projects/([^/]+)/settings/?")


def offered_secret(headers: dict[bytes, bytes]) -> str | Problem | None:
    """The key in the Authorization header: the user name of Basic, or a Bearer token; None where there is neither."""
    given = headers.get(b"authorization")
    if given is None:
        return None
    scheme, _, credentials = given.partition(b" ")
    match scheme.lower():
        case b"basic":
            try:
                secret = binascii.a2b_base64(credentials.strip()).partition(b":")[0].decode()
            except (binascii.Error, UnicodeDecodeError):
                return Problem.MALFORMED_AUTHORIZATION
        case b"bearer":
            secret = credentials.strip().decode("latin-1")
        case _:
            return Problem.MALFORMED_AUTHORIZATION
    return secret or Problem.MISSING_KEY


def ingest_key(secret: str | None, directory: Directory) -> Key | Problem:
    """The key that this secret is, if it may send events."""
    if not secret:
        return Problem.MISSING_KEY
    key = directory.key_for(secret)
    if key is None:
        return Problem.INVALID_KEY
    return key if "ingest" in key.scopes else Problem.INSUFFICIENT_SCOPE


def ingest_key_from(secret: str | None, origin: bytes | None, directory: Directory) -> Key | Problem:
    """The same, if it may be used from this origin."""
    key = ingest_key(secret, directory)
    if isinstance(key, Problem) or origin is None or may_send(key, origin):
        return key
    return Problem.ORIGIN_NOT_ALLOWED


def named_key(path: str, query: bytes, directory: Directory) -> Key | None:
    """The key that a request names by its path or its query; None where it names none that exists."""
    found = _IN_PATH.fullmatch(path)
    secret = found[1] if found else query_secret(query)
    return directory.key_for(secret) if secret else None


def query_secret(query: bytes) -> str | None:
    """The key in the query, by one of the names that clients give it."""
    if not query:
        return None
    given = parse_qsl(query.decode("latin-1"), errors="replace", max_num_fields=None)
    return next((value for name, value in given if name in _QUERY_NAMES), None)
