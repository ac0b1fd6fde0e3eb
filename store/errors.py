"""What can go wrong with the store, told apart by ClickHouse's integer code.

StoreError
├── StoreUnavailable   it is away, busy, full or shutting down: the same call again, later, is right
├── BadRows            it cannot hold these rows: the same rows again will fail again
└── StoreFailure       address, rights, schema or statement are wrong: somebody has to mend something first
"""

import re
from typing import Final


class StoreError(Exception):
    """`code` is ClickHouse's, None where no server answered. The message is one line: what, where, what to do."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class StoreUnavailable(StoreError):
    """Retry later. An insert is retried with the same rows under the same token."""


class BadRows(StoreError):
    """Some row of this insert cannot be stored, and none of the rows was promised to be."""


class StoreFailure(StoreError):
    """Retrying does not help."""


UNKNOWN_DATABASE: Final = 81
UNKNOWN_TABLE: Final = 60

_UNAVAILABLE: Final = {
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    99: "UNKNOWN_PACKET_FROM_CLIENT",
    100: "UNKNOWN_PACKET_FROM_SERVER",
    101: "UNEXPECTED_PACKET_FROM_CLIENT",
    102: "UNEXPECTED_PACKET_FROM_SERVER",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    173: "CANNOT_ALLOCATE_MEMORY",
    198: "DNS_ERROR",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    218: "TABLE_IS_DROPPED",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    473: "DEADLOCK_AVOIDED",
    499: "S3_ERROR",
    574: "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
    667: "NOT_INITIALIZED",
    722: "ASYNC_LOAD_WAIT_FAILED",
    741: "TABLE_UUID_MISMATCH",  # in the moment in which tables are exchanged
    745: "SERVER_OVERLOADED",
    999: "KEEPER_EXCEPTION",
}
_BAD_ROWS: Final = {
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    306: "TOO_DEEP_RECURSION",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    407: "DECIMAL_OVERFLOW",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
# Code 252 too, but no retry helps: rows of more than a hundred months at once. The sink's halving does.
_TOO_MANY_MONTHS: Final = "Too many partitions for single INSERT block"
_MIGRATE = "where it is one of whipstitch's own, run `whipstitch migrate`"
_SIGN_IN = "check user and password in WHIPSTITCH_STORE"
_RIGHTS = "give the store's user the rights to read and write its database"
_WHAT_TO_DO: Final = {
    UNKNOWN_TABLE: _MIGRATE,
    UNKNOWN_DATABASE: _MIGRATE,
    16: _MIGRATE,
    115: "the server is older than whipstitch needs; run ClickHouse 25.3 or newer",
    164: _RIGHTS,
    497: _RIGHTS,
    192: _SIGN_IN,
    193: _SIGN_IN,
    194: _SIGN_IN,
    516: _SIGN_IN,
    252: "wait for its merges, or insert fewer and larger batches",
    241: "give it more memory, or wait",
    243: "free some disk space on it",
}


def error_of(code: int, text: str, where: str, *, is_insert: bool) -> StoreError:
    """The error for an answer of ClickHouse's. Only an insert has rows that can be bad: the same code from any other
    statement means the statement. A code that is not known here is a StoreFailure, so that it is seen."""
    advice = f"; {_WHAT_TO_DO[code]}" if code in _WHAT_TO_DO else ""
    message = f"the store at {where} answered with code {code}: {_one_line(text)}{advice}"
    if is_insert and (code in _BAD_ROWS or _TOO_MANY_MONTHS in text):
        return BadRows(message, code)
    if code in _UNAVAILABLE:
        return StoreUnavailable(message, code)
    return StoreFailure(message, code)


def away(where: str, why: object) -> StoreUnavailable:
    """The error for a server that did not answer, or not to the end."""
    return StoreUnavailable(f"the store at {where} does not answer: {_one_line(str(why))}; see that it runs")


def _one_line(text: str) -> str:
    """ClickHouse's text without prefixes, scope, version and stack trace, cut to what can be read in a log."""
    first = re.split(r"Stack trace:|\(version |Expected one of|: In scope ", text, maxsplit=1)[0]
    first = re.sub(r"^Code: \d+\. |DB::Exception: ", "", first.strip())
    return " ".join(first.split())[:300]
