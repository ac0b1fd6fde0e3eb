"""Which key a request comes with, and whether it may send events."""

import binascii

from ingress.errors import Problem
from pipeline.directory import Directory
from topics.control import Key


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
