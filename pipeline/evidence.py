"""What one message says of who is who: facts that link an anonymous id to a user, facts that tie two users or part
them, and what of it is refused. It is derived from the message and the project's rules, never from state.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from pipeline import reserved
from pipeline.blocked import is_blocked
from pipeline.outcome import Rejected
from pipeline.reserved import ALIAS, RESET, UNALIAS, Ids
from pipeline.rules import ProjectRules
from pipeline.validate import BLOCKED_ANONYMOUS_ID, BLOCKED_USER_ID, SYNTHETIC_PREFIX
from topics import links
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.links import LinkFact, LinkKind
from topics.raw import EMPTY_OBJECT
from topics.rejected import Reason
from topics.stitched import StitchedEvent


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """Of `links` the first may be about the event's own anonymous id; another is about an alias's previous id. An
    event of which something is `refused` is kept all the same."""

    links: tuple[LinkFact, ...] = ()
    edges: tuple[EdgeFact, ...] = ()
    refused: tuple[Rejected, ...] = ()


NOTHING: Final = Evidence()

_ORIGINAL_IDENTIFY: Final = (b'"$anon_id"', b'"$identified_id"')
_ACTIONS: Final = {
    reserved.MERGE: EdgeAction.JOIN,
    reserved.UNMERGE: EdgeAction.PART,
    reserved.ALIAS: EdgeAction.JOIN,
    reserved.UNALIAS: EdgeAction.PART,
}
_OF_NO_USER: Final = frozenset({RESET, *_ACTIONS})  # what says something though the event has no user


def evidence(event: StitchedEvent, project: ProjectRules) -> Evidence:
    """All that the event says of who is who."""
    if event.user_id is None and not event.warnings and event.event_name not in _OF_NO_USER:
        return NOTHING
    if event.event_name in _ACTIONS:
        return _of_two_users(event, project)
    link = _own_link(event, project)
    if not event.warnings:
        return Evidence((link,)) if link is not None else NOTHING
    return Evidence(() if link is None else (link,), (), _blocked(event, (), project))


def _own_link(event: StitchedEvent, project: ProjectRules) -> LinkFact | None:
    anonymous_id = event.anonymous_id
    if anonymous_id is None or anonymous_id.startswith(SYNTHETIC_PREFIX):
        return None
    if event.event_name == RESET:
        return _link(event, anonymous_id, None, links.RESET)
    if event.user_id is None:
        return None
    if event.type == "identify":
        kind = links.FIRST if _is_original_identify(event.properties) else links.EXACT
        return _link(event, anonymous_id, event.user_id, kind)
    if project.implicit_links:
        return _link(event, anonymous_id, event.user_id, links.IMPLICIT)
    return None


def _is_original_identify(properties: Raw) -> bool:
    """Whether it is Mixpanel's `$identify` of the original ID merge."""
    if properties is EMPTY_OBJECT:
        return False
    text = bytes(properties)
    return all(name in text for name in _ORIGINAL_IDENTIFY)


def _of_two_users(event: StitchedEvent, project: ProjectRules) -> Evidence:
    ids = reserved.ids_of(event)
    if event.event_name in (ALIAS, UNALIAS):
        return _of_alias(event, ids, project)
    one, other = sorted(map(str, ids.distinct_ids or ()))
    refused = _blocked(event, (one, other), project)
    if one == other or is_blocked(one, project.blocked_ids) or is_blocked(other, project.blocked_ids):
        return Evidence(refused=refused)
    return _with_edge(event, EdgeKind.MERGE, (one, other), Evidence(refused=refused))


def _of_alias(event: StitchedEvent, ids: Ids, project: ProjectRules) -> Evidence:
    """The previous id may be an anonymous id or a user: an alias says both of it, but for the message's own anonymous
    id, by which a device that several people use would make one person of them."""
    user_id, previous_id = event.user_id, str(ids.previous_id)
    is_alias = event.event_name == ALIAS
    is_own = is_alias and previous_id == event.anonymous_id
    own = _own_link(event, project) if is_alias and not is_own else None
    said = Evidence((own,) if own else (), (), _blocked(event, (previous_id,), project))
    if user_id is None or is_blocked(previous_id, project.blocked_ids):
        return said
    if is_alias:
        said = replace(said, links=(*said.links, _link(event, previous_id, user_id, links.EXACT)))
    if is_own or previous_id == user_id:
        return said
    return _with_edge(event, EdgeKind.ALIAS, (previous_id, user_id), said)


def _with_edge(event: StitchedEvent, kind: EdgeKind, users: tuple[str, str], said: Evidence) -> Evidence:
    """What was said already, and the edge between the two users, or why it is refused."""
    if reserved.NEEDS_SECRET_KEY in event.warnings:
        why = f"{event.event_name} ties or parts two users, which needs a secret key; the event is kept, the tie is not"
        return replace(said, refused=(*said.refused, Rejected("link", Reason.NEEDS_SECRET_KEY, why)))
    edge = EdgeFact(
        project_id=event.project_id,
        kind=kind,
        action=_ACTIONS[event.event_name],
        from_user_id=users[0],
        to_user_id=users[1],
        timestamp=event.timestamp,
        message_id=event.message_id,
        received_at=event.received_at,
    )
    return replace(said, edges=(edge,))


def _blocked(event: StitchedEvent, further: Iterable[str], project: ProjectRules) -> tuple[Rejected, ...]:
    """One refusal for all ids of the event that name nobody: its own, which a check has taken out, and `further`."""
    what = [_BLOCKED[warning] for warning in event.warnings if warning in _BLOCKED]
    if any(is_blocked(each, project.blocked_ids) for each in further):
        what.append(f"an id that {event.event_name} names is a placeholder: it is tied to nobody")
    return (Rejected("link", Reason.BLOCKED_ID, "; ".join(what)),) if what else ()


_BLOCKED: Final = {
    BLOCKED_USER_ID: "userId is a placeholder that names nobody: the event is kept without it",
    BLOCKED_ANONYMOUS_ID: "anonymousId is a placeholder that names nobody: the event is kept under an id of its own",
}


def _link(event: StitchedEvent, anonymous_id: str, user_id: str | None, kind: LinkKind) -> LinkFact:
    # By position, in the order of the fields: by name it takes three times as long, and a fifth of all events link.
    return LinkFact(event.project_id, anonymous_id, user_id, event.timestamp, event.message_id, kind, event.received_at)
