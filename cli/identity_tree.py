"""What `identity show` prints for people: a tree on a terminal, the same lines indented elsewhere.

Arrives: persons. Leaves: branches of text, which hold no control character whatever an id holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.identity_edges import Edge
from cli.identity_person import AnonymousId, Person, Seen
from cli.identity_rows import Message, Refused, Tie
from topics.edges import EdgeAction
from topics.persons import Standing

if TYPE_CHECKING:
    from rich.tree import Tree

MOST_SHOWN = 20
_STANDINGS = {
    "anonymous": "anonymous",
    Standing.ALONE: "one user",
    Standing.JOINED: "several users that are one",
    Standing.SUSPENDED: "suspended: tied to more users than a person may have, so it counts as alone",
}
_ANONYMOUS_STANDINGS = {
    "linked": "",
    "shared": "shared: more users than one id may have, so its anonymous events are nobody's",
    "unlinked": "tied to no user",
}
_EDGE_STATES = {
    "counts": "",
    "conflict": "conflict: an earlier alias of the same user counts",
    "parted": "parted",
    "suspended": "suspended: it would make too large a person",
}
_ACTIONS = {EdgeAction.JOIN: "joined", EdgeAction.PART: "parted"}


@dataclass(frozen=True, slots=True)
class Branch:
    text: str
    branches: tuple["Branch", ...] = ()


def person_branch(person: Person) -> Branch:
    name = "nobody yet" if person.user_id is None else person.user_id
    groups = [
        _group("users", [Branch(_line(user.user_id, _seen(user.seen))) for user in person.users]),
        _group("anonymous ids", [_anonymous_id(each) for each in person.anonymous_ids]),
        _group("between users", [_edge(edge) for edge in person.edges]),
    ]
    head = _line(name, f"person {person.person_id}", _STANDINGS[person.standing], _seen(person.seen))
    return Branch(head, tuple(group for group in groups if group.branches))


def refused_branch(refused: Sequence[Refused]) -> Branch:
    lines = [
        Branch(_line(each.reason, f"message {each.message_id}", f"received {instant(each.received_at)}", each.detail))
        for each in refused
    ]
    return _group("refused, and tied nothing", lines)


def indented(branch: Branch, depth: int = 0) -> Iterator[str]:
    yield "  " * depth + branch.text
    for each in branch.branches:
        yield from indented(each, depth + 1)


def draw(branches: Iterable[Branch]) -> None:
    """Print to the terminal; a long line goes on below itself."""
    from rich.console import Console

    console = Console(highlight=False)
    for branch in branches:
        console.print(_tree(branch))


def instant(moment: datetime) -> str:
    """UTC, with milliseconds, which is what the store holds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """Control characters of an id must not reach somebody's terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _group(name: str, branches: Sequence[Branch]) -> Branch:
    """As many as a person reads; --json has all."""
    left_out = len(branches) - MOST_SHOWN
    more = (Branch(f"… and {left_out} more; --json has them all"),) if left_out > 0 else ()
    return Branch(name, (*branches[:MOST_SHOWN], *more))


def _anonymous_id(each: AnonymousId) -> Branch:
    head = _line(each.anonymous_id, _ANONYMOUS_STANDINGS[each.standing], _seen(each.seen))
    first = next((tie for tie in each.ties if tie.user_id is not None), None)
    return Branch(head, _group("", [Branch(_tie(tie, tie is first)) for tie in each.ties]).branches)


def _tie(tie: Tie, is_first: bool) -> str:
    more = f"and {tie.facts - 1} more that say so, until {instant(tie.last_at)}" if tie.facts > 1 else ""
    late = "does not count: it came after the id had a user" if tie.kind == "first" and not is_first else ""
    return _line(f"{tie.kind}: {tie.user_id or 'nobody'}", _message(tie.message), more, late)


def _edge(edge: Edge) -> Branch:
    arrow = "→" if edge.kind == "alias" else "="
    head = _line(f"{edge.kind}: {edge.from_user_id} {arrow} {edge.to_user_id}", _EDGE_STATES[edge.state])
    said = [Branch(f"{_ACTIONS[each.action]} by {_message(each.message)}") for each in edge.said]
    return Branch(head, _group("", said).branches)


def _message(message: Message) -> str:
    happened, received = instant(message.timestamp), instant(message.received_at)
    late = "" if happened == received else f", received {received}"
    return printable(f"message {message.message_id} at {happened}{late}")


def _seen(seen: Seen) -> str:
    if seen.first_seen is None or seen.last_seen is None:
        return "no events"
    events = "1 event" if seen.events == 1 else f"{seen.events} events"
    return f"{events}, {instant(seen.first_seen)} to {instant(seen.last_seen)}"


def _line(*parts: str) -> str:
    return printable("  ".join(part for part in parts if part))


def _tree(branch: Branch) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(branch.text, overflow="fold"))
    for each in branch.branches:
        tree.add(_tree(each))
    return tree
