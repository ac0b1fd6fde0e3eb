"""Random workloads of few ids and few moments, so that what rarely meets in life meets often here.

One description serves two drawers: Hypothesis, which finds the smallest that breaks a claim, and a random number
generator, which is many times faster where thousands are looked at together.
"""

import os
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.identity.messages import DEVICE, Message, record
from tests.identity.pure import Delivery
from tests.records import TestRecord
from topics.control import Policy, Project

TICK_S: Final = 600.0
"""Three of them are one bucket of implicit facts; all of them together are well within the window of dedupe."""
LAST_TICK: Final = 12
AFTER_THE_WINDOW_S: Final = 48 * 3600.0

ANONYMOUS: Final = ("A", "B", DEVICE)
USERS: Final = ("u", "v", "w", "x")
BLOCKED: Final = ("null", "00-0", " Guest", "tester")

# How many in all the tests of properties together; by default few, and the same ones each time.
GIVEN: Final = os.environ.get("WHIPSTITCH_TEST_WORKLOADS")
ALL: Final = int(GIVEN or 2000)

T = TypeVar("T")


class Choose(Protocol):
    """One of the options; the first is the simplest."""

    def __call__(self, options: Sequence[T], /) -> T: ...


class Workload(msgspec.Struct, frozen=True):
    """Messages, repeats among them, and the settings of projects."""

    messages: tuple[Message, ...]
    projects: tuple[Project, ...] = ()

    def records(self, prefix: str = "") -> list[TestRecord]:
        return [record(message, prefix, offset) for offset, message in enumerate(self.messages)]

    def settings(self, prefix: str = "") -> dict[str, Project]:
        named = [msgspec.structs.replace(project, id=prefix + project.id) for project in self.projects]
        return {project.id: project for project in named}

    def without(self, at: int) -> "Workload":
        return Workload(self.messages[:at] + self.messages[at + 1 :], self.projects)


def workload(choose: Choose) -> Workload:
    messages = [_message(choose, f"{choose('aabé😀')}{n}") for n in range(choose(range(4, 17)))]
    ties = [message for message in messages if message.previous or message.both]
    answers = [_answer(choose, choose(ties), f"{choose('aé')}z{n}") for n in range(choose(range(4))) if ties]
    again = [_repeat(choose, messages) for _ in range(choose((0, 0, 1, 2, 3)))]
    known: dict[tuple[str, str, float], Message] = {}
    for message in [*messages, *answers, *again]:
        known.setdefault((message.project, message.id, message.received), message)
    return Workload(tuple(known.values()), (_project(choose, "p"), _project(choose, "q")))


def busy_id(choose: Choose) -> Workload:
    """One anonymous id with more facts than a bounded state keeps, over many half hours, and an event at each tick."""
    said: dict[str, Any] = {"received": 50 * TICK_S, "anonymous": DEVICE}
    kinds: tuple[dict[str, Any], ...] = (
        *[{"type": "identify"}] * 3,
        *[{"event": "E"}] * 2,
        {"event": "$reset", "user": None},
        {"type": "identify", "mixpanel": "track"},
    )
    facts = [
        Message(**{"id": f"f{n}", "at": choose(range(41)) * TICK_S, "user": choose(USERS), **said, **choose(kinds)})
        for n in range(choose(range(16, 40)))
    ]
    asked = [Message(id=f"g{tick}", at=tick * TICK_S, event="E", **said) for tick in range(41)]
    return Workload((*facts, *asked), (_project(choose, "p"),))


def delivery(choose: Choose) -> Delivery:
    return Delivery(
        seed=choose(range(1 << 16)),
        partitions=choose((1, 2, 7, 32)),
        largest_batch=choose((40, 1, 3)),
        again=choose((0.0, 0.5, 1.0)),
        crashes=choose((False, True)),
    )


def drawn_at_random(share: float) -> list[tuple[Workload, Delivery]]:
    """That share of all workloads."""
    pick = random.Random(None if GIVEN else 0)
    return [(workload(pick.choice), delivery(pick.choice)) for _ in range(round(ALL * share))]


def examples(share: float) -> settings:
    """For a test by Hypothesis that takes that share of all workloads."""
    return settings(
        max_examples=max(1, round(ALL * share)),
        deadline=None,
        derandomize=not GIVEN,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    return workload(_choosing(draw))


@st.composite
def busy_ids(draw: st.DrawFn) -> Workload:
    return busy_id(_choosing(draw))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    return delivery(_choosing(draw))


def _choosing(draw: st.DrawFn) -> Choose:
    def choose(options: Sequence[T], /) -> T:
        return options[draw(_places(len(options)))]

    return choose


@lru_cache
def _places(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


_KINDS: Final = (
    *["track"] * 8,
    *["identify"] * 5,
    *["both"] * 3,
    *["reset"] * 3,
    *["alias"] * 3,
    *["alias of own"] * 2,
    *["merge"] * 2,
    *["mixpanel"] * 2,
    *("unalias", "unmerge", "alias beside", "user"),
)
_SOME_USERS: Final = (*USERS * 3, ANONYMOUS[0], BLOCKED[0])
_SOME_ANONYMOUS: Final = (*ANONYMOUS * 3, BLOCKED[1])
_KNOWN_PREVIOUS: Final = (*USERS * 2, *ANONYMOUS[:2])
_SOME_PREVIOUS: Final = (*_KNOWN_PREVIOUS, *BLOCKED)
_POLICIES: Final[tuple[Policy, ...]] = ("interval", "interval", "first_wins", "last_wins", "isolate")


def _project(choose: Choose, id: str) -> Project:
    return Project(
        id,
        0,
        policy=choose(_POLICIES),
        implicit_links=choose((True, True, True, False)),
        max_users_per_anonymous_id=choose((10, 10, 1, 2)),
        blocked_ids=choose(((), ("Tester",))),
        public_user_edges=choose((False, True)),
        max_users_per_person=choose((50, 3, 2, 2)),
    )


def _message(choose: Choose, id: str) -> Message:
    """One message, received in time or late; its client's clock may be right, ahead, or corrected by `sentAt`."""
    clock = choose(("said", "said", "said", "silent", "sent"))
    said: dict[str, Any] = {
        "id": id,
        "received": choose(range(LAST_TICK + 1)) * TICK_S,
        "at": None if clock == "silent" else choose(range(9)) * TICK_S,
        "sent": choose(range(LAST_TICK + 1)) * TICK_S if clock == "sent" else None,
        "key": choose(("secret", "secret", "secret", "public")),
        "project": choose("pppq"),
    }
    kind = choose(_KINDS)
    if kind == "mixpanel":
        at = None if said["at"] is None else min(said["at"], said["received"])
        said |= {"type": "identify", "mixpanel": "track", "anonymous": DEVICE, "at": at, "sent": None}
        return Message(**said, user=choose(_SOME_USERS))
    return Message(**said, **_content(choose, kind))


def _content(choose: Choose, kind: str) -> dict[str, Any]:
    user, anonymous = choose(_SOME_USERS), choose(_SOME_ANONYMOUS)
    match kind:
        case "track":
            return {"event": "E", "anonymous": anonymous}
        case "both":
            return {"event": "E", "anonymous": anonymous, "user": user}
        case "user":
            return {"event": "E", "user": user}
        case "identify":
            return {"type": "identify", "anonymous": anonymous, "user": user}
        case "reset":
            return {"event": "$reset", "anonymous": anonymous, "user": choose((None, user))}
        case "alias":
            return {"type": "alias", "previous": choose(_SOME_PREVIOUS), "user": user}
        case "alias of own":
            return {"type": "alias", "previous": anonymous, "user": user, "anonymous": anonymous}
        case "alias beside":
            return {"type": "alias", "previous": choose(_KNOWN_PREVIOUS), "user": user, "anonymous": anonymous}
        case "unalias":
            return {"event": "$unalias", "previous": choose(_SOME_PREVIOUS), "user": user}
        case _:
            both = user, choose(_SOME_USERS)
            return {"event": f"${kind}", "both": both, "anonymous": choose((None, anonymous))}


def _answer(choose: Choose, tie: Message, id: str) -> Message:
    """What parts the same two users, or ties them again, or one of them to another one; sooner or later."""
    name = choose(("$merge", "$unmerge")) if tie.both else choose(("$unalias", ""))
    return msgspec.structs.replace(
        tie,
        id=id,
        type="track" if name else "alias",
        event=name,
        at=choose(range(9)) * TICK_S,
        received=choose(range(LAST_TICK + 1)) * TICK_S,
        anonymous=None,
        user=choose((tie.user, *USERS)) if tie.previous and not name else tie.user,
        sent=None,
    )


def _repeat(choose: Choose, messages: Sequence[Message]) -> Message:
    """One of the messages, come again later: the same, or with what another one says under the same record key."""
    first, other = choose(messages), choose(messages)
    later = choose((TICK_S, 3 * TICK_S, 0.001, AFTER_THE_WINDOW_S))
    is_same = choose((True, False)) or later == AFTER_THE_WINDOW_S
    if is_same or first.mixpanel or other.mixpanel:
        return first.moved(later)
    kept = {"id": first.id, "project": first.project, "anonymous": first.anonymous, "received": first.received + later}
    if first.anonymous is None:
        kept["user"] = first.user
    return msgspec.structs.replace(other, **kept)
