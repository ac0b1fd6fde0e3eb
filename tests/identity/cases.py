"""The worked cases, as messages and what must come of them, in whatever order they arrive.

What is said in answer to a request (27, 29 to 31) is looked at where there is an ingress; `WHOLE_ONLY` names those.
"""

from dataclasses import dataclass, field

from tests.identity.messages import (
    DEVICE,
    Message,
    alias,
    identify,
    merge,
    mixpanel_identify,
    reset,
    track,
    unalias,
)

FAR_AHEAD_S = 3 * 365 * 86_400.0


@dataclass(frozen=True)
class Case:
    """`who` is by messageId: the user, None while anonymous. `persons` are sets of users that are one person, of which
    the first is canonical. `letters` are dead letters, by messageId. `written` are users at write time, where the
    messages arrive as they stand here; `traits` those of users."""

    name: str
    messages: tuple[Message, ...]
    who: dict[str, str | None]
    persons: tuple[tuple[str, ...], ...] = ()
    edges: dict[tuple[str, str, str], str] = field(default_factory=dict)
    letters: frozenset[tuple[str, str]] = frozenset()
    written: dict[str, str | None] = field(default_factory=dict)
    traits: dict[str, dict[str, str]] = field(default_factory=dict)


def case(name: str, *messages: Message, letters: set[tuple[str, str]] | None = None, **expected: object) -> Case:
    return Case(name, messages, letters=frozenset(letters or ()), **expected)  # type: ignore[arg-type]


FIVE = (
    track("e1", 1, "A"),
    identify("i2", 2, "A", "U1"),
    track("e3", 3, "A"),
    identify("i5", 5, "A", "U2"),
    track("e6", 6, "A"),
)
KIOSK = tuple(identify(f"i{n:02}", n, "K", f"U{n}") for n in range(11))
SIX = (identify("i2", 2, "A", "U1"), reset("x3", 3, "A"), track("e4", 4, "A"), identify("i5", 5, "A", "U2"))
REPEATED = track("m", 1, "A")

CASES = (
    case("1 identify after", track("e1", 1, "A"), identify("i2", 2, "A", "U"), who={"e1": "U"}, written={"e1": None}),
    case("2 identify before", identify("i2", 2, "A", "U"), track("e3", 3, "A"), who={"e3": "U"}, written={"e3": "U"}),
    case(
        "3 identify arrives first",
        identify("i2", 2, "A", "U"),
        track("e1", 1, "A"),
        who={"e1": "U"},
        written={"e1": "U"},
    ),
    case(
        "4 two devices",
        track("e1", 1, "A"),
        track("e2", 2, "B"),
        identify("i3", 3, "A", "U"),
        identify("i4", 4, "B", "U"),
        who={"e1": "U", "e2": "U"},
    ),
    case("5 the next user keeps the past of the first", *FIVE, who={"e1": "U1", "e3": "U1", "e6": "U2"}),
    case("6 reset, then another", *SIX, who={"e4": "U2", "x3": "U2", "i2": "U1"}),
    case("7 reset, then nobody", *SIX[:3], who={"e4": None, "x3": None, "i2": "U1"}),
    case(
        "8 back again",
        identify("i2", 2, "A", "U1"),
        identify("i5", 5, "A", "U2"),
        identify("i8", 8, "A", "U1"),
        track("e6", 6, "A"),
        track("e9", 9, "A"),
        who={"e6": "U2", "e9": "U1"},
    ),
    case(
        "9 own user wins",
        identify("i1", 1, "A", "U1"),
        track("e2", 2, "A", "U2"),
        who={"i1": "U1", "e2": "U2"},
        written={"e2": "U2"},
    ),
    case("10 implicit", track("e1", 1, "A"), track("e2", 2, "A", "U"), who={"e1": "U"}),
    case(
        "11 chain of aliases",
        alias("a1", 1, "u1", "u2"),
        alias("a2", 2, "u2", "u3"),
        track("e", 3, None, "u1"),
        who={"e": "u3", "a1": "u3"},
        persons=(("u3", "u1", "u2"),),
        edges={("alias", "u1", "u2"): "counts", ("alias", "u2", "u3"): "counts"},
    ),
    case(
        "12 circle",
        alias("a1", 1, "u1", "u2"),
        alias("a2", 2, "u2", "u1"),
        who={"a1": "u1", "a2": "u1"},
        persons=(("u1", "u2"),),
    ),
    case(
        "13 two targets",
        alias("a2", 2, "u1", "u3"),
        alias("a5", 5, "u1", "u2"),
        track("e", 6, None, "u1"),
        who={"e": "u3", "a5": "u2"},
        persons=(("u3", "u1"), ("u2",)),
        edges={("alias", "u1", "u3"): "counts", ("alias", "u1", "u2"): "conflict"},
    ),
    case(
        "14 merges",
        merge("m1", 1, "u2", "u1"),
        merge("m2", 2, "u3", "u2"),
        track("e", 3, None, "u3"),
        who={"e": "u1", "m1": None},
        persons=(("u1", "u2", "u3"),),
        edges={("merge", "u1", "u2"): "counts", ("merge", "u2", "u3"): "counts"},
    ),
    case(
        "15 alias taken back",
        alias("a2", 2, "u1", "u2"),
        unalias("b3", 3, "u1", "u2"),
        who={"a2": "u2", "b3": "u2"},
        persons=(("u1",), ("u2",)),
        edges={("alias", "u1", "u2"): "parted"},
    ),
    case(
        "15 and stated again",
        alias("a2", 2, "u1", "u2"),
        unalias("b3", 3, "u1", "u2"),
        alias("a4", 4, "u1", "u2"),
        track("e", 5, None, "u1"),
        who={"e": "u2"},
        persons=(("u2", "u1"),),
        edges={("alias", "u1", "u2"): "counts"},
    ),
    case("16 alias of a device", track("e1", 1, "A"), alias("a2", 2, "A", "U"), who={"e1": "U"}),
    case(
        "17 aliases of the own device",
        alias("a1", 1, "A", "U1", anonymous="A"),
        alias("a2", 2, "A", "U2", anonymous="A"),
        track("e3", 3, "A"),
        who={"a1": "U1", "a2": "U2", "e3": "U2"},
        persons=(("U1",), ("U2",)),
    ),
    case(
        "18 blocked user",
        identify("i1", 1, "A", "null"),
        track("e2", 2, "A"),
        who={"i1": None, "e2": None},
        letters={("i1", "blocked_id")},
    ),
    case(
        "19 blocked anonymous id",
        identify("i1", 1, "undefined", "U"),
        track("e2", 2, "undefined"),
        who={"i1": "U", "e2": None},
        letters={("i1", "blocked_id"), ("e2", "blocked_id")},
    ),
    case(
        "20 two identifies at one instant",
        identify("d", 5, "A", "U1"),
        identify("b", 5, "A", "U2"),
        track("e4", 4, "A"),
        track("c", 5, "A"),
        track("e", 5, "A"),
        track("e6", 6, "A"),
        who={"e4": "U2", "c": "U2", "e": "U1", "e6": "U1"},
    ),
    case(
        "21 clock far ahead",
        identify("i5", FAR_AHEAD_S, "A", "U1", received=5),
        identify("i7", 7, "A", "U2"),
        track("e8", 8, "A"),
        who={"e8": "U2"},
    ),
    case(
        "22 kiosk",
        *KIOSK,
        track("e20", 20, "K"),
        track("e21", 21, "K", "U3"),
        who={"e20": None, "e21": "U3"},
    ),
    case("22 ten users are no kiosk", *KIOSK[:10], track("e20", 20, "K"), who={"e20": "U9"}),
    case(
        "23 both are one person after all",
        *FIVE,
        alias("a9", 9, "U1", "U2"),
        who={"e1": "U2", "e3": "U2", "e6": "U2"},
        persons=(("U2", "U1"),),
    ),
    case(
        "24 one message three times",
        REPEATED,
        REPEATED.moved(1),
        REPEATED.moved(48 * 3600),
        identify("i2", 2, "A", "U"),
        who={"m": "U", "i2": "U"},
    ),
    case(
        "25 one message with two bodies",
        track("m", 1, "A", "U1"),
        track("m", 1, "A", "U2", received=9, event="Other"),
        track("e3", 3, "A"),
        who={"m": "U1", "e3": "U1"},
    ),
    case(
        "26 projects never touch",
        identify("i1", 1, "A", "U", project="q"),
        track("e2", 2, "A"),
        who={"e2": None},
    ),
    case("27 neither id", track("e1", 1), track("e2", 2, "A"), who={"e2": None}, letters={("e1", "missing_id")}),
    case(
        "28 traits of an anonymous identify",
        identify("i1", 1, "A", None, traits=(("plan", "free"), ("city", "Wien"))),
        identify("i2", 2, "A", "U", traits=(("plan", "pro"),)),
        who={"i1": "U"},
        traits={"U": {"plan": "pro", "city": "Wien"}},
    ),
    case(
        "29 no UUID of version 4",
        mixpanel_identify("i1", 1, "A", "U"),
        track("e2", 2, "A"),
        who={"e2": None},
        letters={("i1", "invalid_field")},
    ),
    case(
        "30 merged to another already",
        mixpanel_identify("i1", 1, DEVICE, "U1"),
        mixpanel_identify("i3", 3, DEVICE, "U2"),
        track("e0", 0, DEVICE),
        track("e4", 4, DEVICE),
        who={"i1": "U1", "i3": "U2", "e0": "U1", "e4": "U1"},
    ),
    case(
        "30 an identify of another dialect counts",
        identify("i1", 1, DEVICE, "U1"),
        mixpanel_identify("i3", 3, DEVICE, "U2"),
        identify("i5", 5, DEVICE, "U3"),
        track("e4", 4, DEVICE),
        track("e6", 6, DEVICE),
        who={"e4": "U1", "e6": "U3"},
    ),
    case(
        "31 merge from a public key",
        merge("m1", 1, "u1", "u2", key="public"),
        merge("m2", 2, "u1", "u2", mixpanel="track"),
        track("e3", 3, None, "u2"),
        who={"m1": None, "e3": "u2"},
        persons=(("u1",), ("u2",)),
        letters={("m1", "needs_secret_key"), ("m2", "needs_secret_key")},
    ),
    case(
        "32 an e-mail address as the user",
        identify("i1", 1, None, "a@b.example"),
        who={"i1": "a@b.example"},
        traits={"a@b.example": {"email": "a@b.example"}},
    ),
    case(
        "34 delivered again",
        *FIVE,
        *(message.moved(10) for message in FIVE),
        who={"e1": "U1", "e3": "U1", "e6": "U2", "i2": "U1", "i5": "U2"},
    ),
)
"""All but 33 (forgetting), which is no message."""
