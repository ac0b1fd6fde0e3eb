"""Who may use a key from a browser, and which page may read the answer."""

from ingress.contract import Answer
from ingress.cors import Origins, may_send, preflight, readable
from pipeline.directory import Directory
from topics.control import Key, KeyKind, encode, record_key

SHOP = "https://shop.example"


def key(*origins: str, kind: KeyKind = "public", name: str = "k") -> Key:
    return Key(name, "pk_", "p", kind, 1, origins=origins)


def directory(*keys: Key) -> Directory:
    return Directory().apply([(record_key(each), encode(each)) for each in keys])


def headers(answer: Answer) -> dict[bytes, bytes]:
    return dict(answer.start["headers"])


def test_public_key_is_held_to_its_origins_where_it_has_some() -> None:
    assert may_send(key(SHOP), SHOP.encode())
    assert may_send(key(SHOP + "/"), b"HTTPS://Shop.Example")
    assert not may_send(key(SHOP), b"https://evil.example")
    assert not may_send(key(SHOP), b"http://shop.example")
    assert not may_send(key(SHOP), b"https://shop.example.evil.example")
    assert not may_send(key(SHOP), b"null")
    assert not may_send(key(SHOP), b"")


def test_star_and_no_origins_mean_any() -> None:
    assert may_send(key("*"), b"https://evil.example")
    assert may_send(key(), b"https://evil.example")


def test_request_without_an_origin_is_no_browsers_and_a_secret_key_is_not_bound() -> None:
    assert may_send(key(SHOP), None)
    assert may_send(key(SHOP, kind="secret"), b"https://evil.example")


def test_key_decides_who_reads_where_it_is_known_and_all_keys_where_it_is_not() -> None:
    known, seen = directory(key(SHOP, name="a"), key("https://b.example", name="b")), Origins()
    assert seen.allowed_by(key(SHOP), known) == {SHOP}
    assert seen.allowed_by(None, known) == {SHOP, "https://b.example"}
    assert seen.allowed_by(None, directory(key(SHOP, name="a"), key(name="c"))) == {SHOP, "*"}


def test_secret_key_lets_no_page_read_but_those_it_lists() -> None:
    assert Origins().allowed_by(key(kind="secret"), Directory()) == frozenset()
    assert Origins().allowed_by(None, directory(key(kind="secret"))) == frozenset()
    assert Origins().allowed_by(key(SHOP, kind="secret"), Directory()) == {SHOP}


def test_answer_names_the_origin_only_where_it_is_listed() -> None:
    answer = Answer(200, b"{}", ((b"retry-after", b"2"),))
    listed = headers(readable(answer, SHOP.encode(), frozenset({SHOP})))
    assert listed[b"access-control-allow-origin"] == SHOP.encode()
    assert (listed[b"vary"], listed[b"retry-after"]) == (b"Origin", b"2")
    unlisted = headers(readable(answer, b"https://evil.example", frozenset({SHOP})))
    assert b"access-control-allow-origin" not in unlisted
    assert unlisted[b"vary"] == b"Origin"


def test_origin_that_nobody_lists_is_not_repeated_even_where_any_is_allowed() -> None:
    answer = readable(Answer(200, b"{}"), b"https://evil.example", frozenset({"*"}))
    assert headers(answer)[b"access-control-allow-origin"] == b"*"
    assert b"evil" not in repr(answer.start).encode()


def test_preflight_grants_what_real_clients_ask_for() -> None:
    granted = headers(preflight(SHOP.encode(), frozenset({SHOP}), b"OPTIONS, POST"))
    assert granted[b"access-control-allow-origin"] == SHOP.encode()
    assert granted[b"access-control-allow-methods"] == b"OPTIONS, POST"
    asked = {"anonymousid", "sentat", "authorization", "content-type", "content-encoding", "x-strict-mode"}
    assert asked <= {name.strip() for name in granted[b"access-control-allow-headers"].decode().lower().split(",")}
    assert int(granted[b"access-control-max-age"]) > 0
    assert b"retry-after" in granted[b"access-control-expose-headers"].lower()


def test_preflight_of_an_origin_that_is_not_allowed_grants_nothing() -> None:
    answer = preflight(b"https://evil.example", frozenset({SHOP}), b"POST")
    assert answer.status == 204
    assert not any(name.startswith(b"access-control") for name in headers(answer))
    assert headers(answer)[b"vary"] == b"Origin"


def test_credentials_are_not_admitted_unasked_and_204_has_no_length() -> None:
    any_origin = frozenset({SHOP, "*"})
    for answer in (preflight(b"x", any_origin, b"POST"), readable(Answer(200, b""), b"x", any_origin)):
        assert b"access-control-allow-credentials" not in headers(answer)
    assert b"content-length" not in headers(preflight(b"", frozenset(), b"POST"))


def test_answer_to_a_client_that_sends_with_credentials_names_its_origin_and_admits_them() -> None:
    for allowed in (frozenset({SHOP}), frozenset({"*"})):
        told = headers(readable(Answer(200, b"1"), SHOP.encode(), allowed, with_credentials=True))
        assert told[b"access-control-allow-origin"] == SHOP.encode()
        assert told[b"access-control-allow-credentials"] == b"true"
    refused = headers(readable(Answer(200, b"1"), b"https://evil.example", frozenset({SHOP}), with_credentials=True))
    assert not any(name.startswith(b"access-control") for name in refused)
