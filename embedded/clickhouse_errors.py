"""The errors that the HTTP interface itself tells, and which code of ClickHouse's has which HTTP status."""

from embedded.connection import EngineError

SYNTAX_ERROR = 62

# As in ClickHouse's src/Server/HTTP/exceptionCodeToHTTPStatus.cpp (26.x), where every other code is a 500. One is
# ours: 202 is a 503 here, so that clients know that a retry is right.
_CODES = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 202, 209, 439),
}
_STATUS = {code: status for status, codes in _CODES.items() for code in codes}


def http_status(code: int) -> int:
    return _STATUS.get(code, 500)


def not_implemented(message: str) -> EngineError:
    return EngineError(48, message, "NOT_IMPLEMENTED")


def access_denied(message: str) -> EngineError:
    return EngineError(497, message, "ACCESS_DENIED")


def too_many_queries(most: int) -> EngineError:
    return EngineError(202, f"Too many simultaneous queries. Maximum: {most}.", "TOO_MANY_SIMULTANEOUS_QUERIES")


def query_too_large(most_bytes: int) -> EngineError:
    return EngineError(229, f"The query has more than {most_bytes} bytes.", "QUERY_IS_TOO_LARGE")


def cannot_decompress(message: str) -> EngineError:
    return EngineError(271, f"Cannot decompress the request: {message}.", "CANNOT_DECOMPRESS")


def outfile_not_allowed() -> EngineError:
    return EngineError(358, "INTO OUTFILE is not allowed.", "INTO_OUTFILE_NOT_ALLOWED")
