"""Batches come to the same in compiled code as in Python: who did it, what is published, what is remembered."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import load
from pipeline.dedupe import SeenIds
from pipeline.identity import NOBODY, Ownership, Point, with_facts
from pipeline.owner_rows import decode, encode
from pipeline.rules import Rules
from pipeline.stitch import decide
from tests import compiled
from tests.plain import assert_decided_alike, plain_rows
from tests.records import START_MS, TestRecord, raw_call
from topics import links, stitched
from topics.control import Policy, Project
from topics.keys import anonymous_key
from topics.links import RESET, LinkFact, LinkKind

compiled.needs("pipeline.plain_batch")

RULES = Rules([], max_event_bytes=32 * 1024)
POLICIES: tuple[Policy, ...] = ("interval", "first_wins", "last_wins", "isolate")

anonymous_ids = st.sampled_from(["anon-1", "anon-2", "$blocked:m", "undefined"])
user_ids = st.sampled_from(["u1", "u2", "ä-3", 'quo"te', "nobody", "null"])
tracks = st.fixed_dictionaries(
    {"type": st.just("track"), "event": st.sampled_from(["Viewed", "Viewed", "$reset"])},
    optional={"anonymousId": anonymous_ids, "userId": user_ids},
)
identifies = st.fixed_dictionaries(
    {"type": st.just("identify"), "userId": user_ids}, optional={"anonymousId": anonymous_ids}
)
PAGE = {"type": "page", "anonymousId": "anon-1"}
ALIAS = {"type": "alias", "previousId": "u2", "userId": "u1"}
odd = st.sampled_from([PAGE, ALIAS])
projects = st.builds(
    Project,
    id=st.just("p"),
    created_at_ms=st.just(0),
    policy=st.sampled_from(POLICIES),
    implicit_links=st.booleans(),
    blocked_ids=st.sampled_from([(), ("nobody",)]),
    max_users_per_anonymous_id=st.sampled_from([0, 1, 2, 10]),
)


@st.composite
def records(draw: st.DrawFn) -> TestRecord:
    """Of few ids and moments, so that they repeat and meet."""
    at_ms, n = START_MS + 1000 * draw(st.integers(0, 20)), draw(st.integers(0, 30))
    body: dict[str, object] = {**draw(st.one_of(tracks, tracks, identifies, odd)), "messageId": f"m{n}"}
    return raw_call(body, at_ms=at_ms, project_id=draw(st.sampled_from("ppq")), offset=n)


@given(st.lists(records(), max_size=25), st.lists(records(), max_size=25), projects)
@settings(max_examples=300, deadline=None)
def test_whatever_is_in_a_batch_is_decided_as_in_python(
    before: list[TestRecord], batch: list[TestRecord], project: Project
) -> None:
    rules = Rules([project], max_event_bytes=32 * 1024)
    first = assert_decided_alike(before, {}, rules)
    owners = {key: row for key, row in first.owners.items() if row is not None}
    assert_decided_alike(batch, owners, rules, known=before)


DAY_MS = 86_400_000
moments = st.one_of(st.integers(0, 120), st.integers(0, 120).map(lambda minute: 30 * minute))  # in minutes
said_of_one_device = st.tuples(
    st.sampled_from(["identify", "identify", "identify", "track", "anonymous", "page"]),
    st.sampled_from(["u1", "u1", "u1", "u1", "u2", 'quo"te']),
    moments,
    st.integers(0, 60),  # a message id, which may come again
    st.integers(0, 1),  # and as an event of its own, once the window is over
)


@given(st.lists(said_of_one_device, max_size=60), st.lists(said_of_one_device, min_size=20, max_size=100), projects)
@settings(max_examples=200, deadline=None)
def test_much_that_is_said_of_one_device_is_decided_as_in_python(
    before: list[tuple[str, str, int, int, int]], batch: list[tuple[str, str, int, int, int]], project: Project
) -> None:
    rules = Rules([project], max_event_bytes=32 * 1024)
    first = assert_decided_alike([said(*each) for each in before], {}, rules)
    owners = {key: row for key, row in first.owners.items() if row is not None}
    assert_decided_alike([said(*each) for each in batch], owners, rules, known=[said(*each) for each in before[:10]])


def test_a_device_that_identifies_for_hours_is_decided_as_in_python() -> None:
    calls = [("identify", "u1", minute, minute, 1) for minute in (*range(0, 600), *range(900, 700, -1))]
    tracks = [("track", "u1", 3 * minute, 1000 + minute, 1) for minute in range(300)]
    asked = [("anonymous", "", minute, 2000 + minute, 1) for minute in range(0, 900, 50)]
    decision = assert_decided_alike([said(*each) for each in (*calls, *tracks, *asked)], {}, RULES)
    assert len(decision.links) == len(calls) + len(tracks)
    assert len(decision.owners) == 1


def test_moments_that_come_again_after_the_window_count_once() -> None:
    calls = [("identify", "u1", minute, minute, window) for minute in range(40) for window in (0, 1)]
    decision = assert_decided_alike([said(*each) for each in calls], {}, RULES)
    assert len(decision.links) == len(calls)


def said(kind: str, user_id: str, minute: int, message: int, window: int) -> TestRecord:
    """Received when each of its moments has been, as an event of one window or the next."""
    at = datetime.fromtimestamp(START_MS / 1000 + 60 * minute, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body: dict[str, object] = {"type": kind, "anonymousId": "A", "messageId": f"m{message}", "timestamp": at}
    if kind in ("track", "anonymous"):
        body |= {"type": "track", "event": "E"}
    if kind != "anonymous":
        body |= {"userId": user_id}
    return raw_call(body, at_ms=START_MS + (1 + window) * 3 * DAY_MS, offset=message)


def test_a_benchmarks_load_is_decided_as_in_python_and_all_of_it_is_plain() -> None:
    loaded = [TestRecord(value, headers, key, timestamp=at) for _, (key, value, at, headers) in load.records(2_000, 1)]
    decision = assert_decided_alike(loaded[1000:], {}, RULES, known=loaded[:1000])
    assert decision.duplicates
    assert len(decision.links) > 100
    assert len(plain_rows(loaded, RULES)) == len(loaded)


def test_it_goes_on_behind_what_is_not_plain() -> None:
    batch = [track(0), track(1, type="page"), track(2), track(3), TestRecord(b"{", ()), TestRecord(None, ()), track(6)]
    assert plain_rows(batch, RULES) == [0, 2, 3, 6]
    assert_decided_alike(batch, {}, RULES)


@pytest.mark.parametrize("owner", ["u1", 'quo"te', "ä-3"])
def test_whoever_owns_an_id_is_written_with_its_events(owner: str) -> None:
    decision = assert_decided_alike([track(0, userId=owner, type="identify"), track(1)], {}, RULES)
    assert links.decode(decision.links[0][1] or b"").user_id == owner


def test_a_placeholder_of_the_projects_own_is_left_to_python() -> None:
    batch = [track(0, userId=" Nobody"), track(1, userId="u1"), track(2, anonymousId="nobody")]
    assert plain_rows(batch, RULES) == [0, 1, 2]
    rules = Rules([Project("p", 0, blocked_ids=("nobody",))], max_event_bytes=1000)
    assert plain_rows(batch, rules) == [1]
    assert_decided_alike(batch, {}, rules)


def test_projects_keep_to_themselves_within_a_batch() -> None:
    projects = [Project("p", 0), Project("q", 0, implicit_links=False)]
    batch = [
        raw_call({"type": "track", "event": "E", "anonymousId": "A", **said}, project_id=project_id, offset=n)
        for n, (project_id, said) in enumerate((each, said) for said in SAID for each in "pqqp")
    ]
    decision = assert_decided_alike(batch, {}, Rules(projects, max_event_bytes=1000))
    assert {links.decode(value or b"").project_id for _, value, _, _ in decision.links} == {"p"}


SAID: list[Mapping[str, object]] = [{}, {"userId": "u1"}, {}]


def track(n: int, **said: object) -> TestRecord:
    return raw_call({"type": "track", "event": "E", "anonymousId": "A", **said}, at_ms=START_MS + n, offset=n)


SHARED = [f"u{n}" for n in range(11)]


@pytest.mark.parametrize(
    "users", [("u1",), ("u1", "u1", "u1"), ("u1", "u2"), ("u1", None), (None,), ('quo"te',), SHARED]
)
@pytest.mark.parametrize("kind", LinkKind)
@pytest.mark.parametrize("then", [(), ("u1",), ("u2",), ("u1", "u2")])
def test_whatever_the_table_says_of_a_device_is_read_as_in_python(
    users: Sequence[str | None], kind: LinkKind, then: Sequence[str]
) -> None:
    said = [
        LinkFact("p", "anon-1", user, float(n), f"f{n}", RESET if user is None else kind, float(n))
        for n, user in enumerate(users)
    ]
    owners = {anonymous_key("p", "anon-1"): encode(with_facts(NOBODY, said, 10))}
    bodies: list[dict[str, object]] = [
        {"type": "identify", "userId": user, "anonymousId": "anon-1", "messageId": user} for user in then
    ]
    bodies.append({"type": "track", "event": "Viewed", "anonymousId": "anon-1", "messageId": "asked"})
    batch = [raw_call(body, at_ms=START_MS + n, offset=n) for n, body in enumerate(bodies)]
    assert_decided_alike(batch, owners, RULES)


@pytest.mark.parametrize("message_id", ["m", 'quo"te', "ä", "", "z" * 100])
@pytest.mark.parametrize("at", [0, 0.001, 5, 5.25, 1.0000001, 1e16, 3e-5, START_MS / 1000])
@pytest.mark.parametrize("count", [1, 15, 16, 20])
def test_whatever_moments_the_table_has_a_row_goes_on_as_in_python(message_id: str, at: float, count: int) -> None:
    said = [LinkFact("p", "anon-1", "u1", float(at + n), f"{message_id}{n}", LinkKind.EXACT, 0.0) for n in range(count)]
    owners = {anonymous_key("p", "anon-1"): encode(with_facts(NOBODY, said, 10))}
    again: dict[str, object] = {"type": "identify", "userId": "u1", "anonymousId": "anon-1"}
    batch = [raw_call({**again, "messageId": f"{n}"}, at_ms=START_MS + n, offset=n) for n in range(3)]
    decision = assert_decided_alike([*batch, track(4, anonymousId="anon-1")], owners, RULES)
    assert stitched.decode(decision.stitched[-1][1] or b"").stitched_user_id == "u1"


def test_facts_of_one_moment_are_in_the_order_of_their_ids_however_these_are_written() -> None:
    said = [LinkFact("p", "A", "u1", START_MS / 1000, 'quo"te', LinkKind.EXACT, 0.0)]
    owners = {anonymous_key("p", "A"): encode(with_facts(NOBODY, said, 10))}
    batch = [track(0, userId="u1", type="identify", messageId=message_id) for message_id in ("quoAte", "quo!te")]
    decision = assert_decided_alike(batch, owners, RULES)
    [row] = decision.owners.values()
    assert row is not None
    assert [point.message_id for point in decode(row).points] == ["quo!te", 'quo"te', "quoAte"]


def test_a_row_with_more_points_than_are_kept_today_is_read_as_in_python() -> None:
    points = tuple(Point(float(n), f"m{n}", "u1") for n in range(40))
    owners = {anonymous_key("p", "A"): encode(Ownership(points, ("u1",)))}
    assert_decided_alike([track(0, userId="u1", type="identify"), track(1)], owners, RULES)


@pytest.mark.parametrize("then", ["u1", "u2"])
def test_what_python_is_told_after_a_row_was_made_is_told_of_that_row(then: str) -> None:
    identify, aliased = track(0, userId="u1", type="identify"), track(1, userId=then, type="page")
    decision = assert_decided_alike([identify, aliased, track(2), track(3, userId="u1", type="identify")], {}, RULES)
    row = decision.owners[anonymous_key("p", "A")]
    assert row is not None
    assert decode(row).users == tuple(sorted({"u1", then}))


def test_a_fact_that_is_in_the_row_already_changes_no_row() -> None:
    identify = track(0, userId="u1", type="identify")
    owners = {key: row for key, row in decide([identify], SeenIds(60), {}, RULES).owners.items() if row}
    assert assert_decided_alike([identify], owners, RULES).owners == {}


def test_a_row_that_is_cut_off_is_no_row_in_compiled_code_either() -> None:
    said = [LinkFact("p", "anon-1", "u1", float(n), f"f{n}", LinkKind.EXACT, 0.0) for n in range(2)]
    row = encode(with_facts(NOBODY, said, 10))
    asked = raw_call({"type": "track", "event": "Viewed", "anonymousId": "anon-1"})
    for size in range(1, len(row)):
        with pytest.raises(msgspec.DecodeError):
            decide([asked], SeenIds(60), {anonymous_key("p", "anon-1"): row[:size]}, RULES)
