"""What clients send that nobody should: over HTTP, through the worker and the merge agent, to the views."""

import json

import pytest

from tests.integration.whole_service import Service
from tests.waiting import eventually

ALIASES = 10_000
A_BATCH = 1_000


def send(service: Service, secret: str, *calls: dict[str, object]) -> None:
    answer = service.ingress.post("/v1/batch", {"batch": list(calls)}, secret)
    assert answer.status == 200, answer


def resolved(service: Service, project_id: str) -> dict[str, str | None]:
    sql = "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {p:String}"
    return {row["message_id"]: row["resolved_user_id"] for row in service.system.rows(sql, p=project_id)}


def track(message_id: str, **ids: object) -> dict[str, object]:
    return {"type": "track", "event": "E", "messageId": message_id, **ids}


def alias(message_id: str, previous_id: str, user_id: str) -> dict[str, object]:
    return {"type": "alias", "messageId": message_id, "previousId": previous_id, "userId": user_id}


def test_ten_thousand_aliases_onto_one_user_are_stored_and_suspended_and_hold_up_nobody(service: Service) -> None:
    secret, key = service.key()
    project = key.project_id
    for start in range(0, ALIASES, A_BATCH):
        send(service, secret, *(alias(f"a{n}", f"u{n}", "hub") for n in range(start, start + A_BATCH)))
    send(service, secret, track("one", userId="u7"), alias("other", "x", "y"), track("two", userId="x"))
    expected = {"one": "u7", "two": "y"}
    eventually(lambda: expected.items() <= resolved(service, project).items(), "another merge of the project")
    suspended = "identity_conflicts WHERE project_id = {p:String} AND problem = 'suspended'"
    eventually(lambda: service.system.count(suspended, p=project) == ALIASES + 1, "all of them reported", timeout_s=60)


def test_circles_and_aliases_of_oneself_come_to_one_user(service: Service) -> None:
    secret, key = service.key()
    users = ["c", "a", "b"]
    send(service, secret, *(alias(f"a{n}", users[n], users[(n + 1) % 3]) for n in range(3)), alias("self", "a", "a"))
    send(service, secret, *(track(f"e-{user}", userId=user) for user in users))
    wanted = {f"e-{user}": "a" for user in users}
    eventually(lambda: wanted.items() <= resolved(service, key.project_id).items(), "one person")


@pytest.mark.parametrize(
    ("anonymous_id", "user_id"),
    [("nul\0a", "nul\0u"), ("é", "é"), ("e\u0301", "e\u0301"), ("😀", "​"), ("a|b", "u:|'\\\"`")],
    ids=["NUL", "composed", "decomposed", "beyond the BMP and zero width", "punctuation"],
)
def test_an_id_is_its_bytes_whatever_they_are(service: Service, anonymous_id: str, user_id: str) -> None:
    secret, key = service.key()
    send(
        service,
        secret,
        track("e", anonymousId=anonymous_id),
        {"type": "identify", "messageId": "i", "anonymousId": anonymous_id, "userId": user_id},
        {"type": "identify", "messageId": "other", "anonymousId": "A", "userId": "é"},
    )
    eventually(lambda: resolved(service, key.project_id).get("e") == user_id, "the very same user")


def test_an_id_of_a_megabyte_is_a_dead_letter_and_half_a_surrogate_pair_one_character(service: Service) -> None:
    secret, key = service.key()
    body = (
        b'{"batch": [{"type": "track", "event": "E", "messageId": "half", "userId": "u\\ud800"}, %b]}'
        % json.dumps(track("huge", userId="u" * 40_000)).encode()
    )
    assert service.ingress.post("/v1/batch", body, secret).status == 200
    [letter] = service.dead_letters(key.project_id, 1)
    assert (letter["message_id"], letter["reason"]) == ("huge", "too_large")
    eventually(lambda: resolved(service, key.project_id) == {"half": "u\ufffd"}, "the other event")
    answer = service.ingress.post("/v1/track", track("whole", userId="u" * 1_000_000), secret)
    assert answer.status in (400, 413)


def kiosk(n: int) -> dict[str, object]:
    return {"type": "identify", "messageId": f"k{n}", "anonymousId": "K", "userId": f"u{n}"}


def test_eleven_users_on_a_kiosk_and_a_clock_ten_years_ahead_make_nobody_an_owner_too_soon(service: Service) -> None:
    secret, key = service.key()
    send(
        service,
        secret,
        *map(kiosk, range(11)),
        track("kiosk", anonymousId="K"),
        {
            "type": "identify",
            "messageId": "ahead",
            "anonymousId": "A",
            "userId": "u1",
            "timestamp": "2036-01-01T00:00:00Z",
        },
    )
    send(service, secret, {"type": "identify", "messageId": "now", "anonymousId": "A", "userId": "u2"})
    send(service, secret, track("after", anonymousId="A"))
    eventually(lambda: resolved(service, key.project_id).get("after") == "u2", "the user who came last")
    assert resolved(service, key.project_id)["kiosk"] is None
