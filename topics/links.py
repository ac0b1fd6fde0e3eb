"""A record of `identity.links`: one fact that ties an anonymous id to a user, or a reset that ends an ownership.

A fact is derived from one message, never from state, so the set of facts does not depend on the order of arrival.
Like a stitched event it is a row of the store in JSONEachRow form.
"""

from enum import StrEnum

import msgspec


class LinkKind(StrEnum):
    EXACT = "exact"  # an identify that carries both ids, or an alias of the anonymous id
    IMPLICIT = "implicit"  # any other event that carries both ids
    FIRST = "first"  # Mixpanel's identify of an anonymous id: counts only as the earliest fact with a user on that id
    RESET = "reset"  # ends an ownership; has no user


# Bound once: to take a member from its class costs about 1,000 instructions, as much as to make a fact.
EXACT, IMPLICIT, FIRST, RESET = LinkKind.EXACT, LinkKind.IMPLICIT, LinkKind.FIRST, LinkKind.RESET


class LinkFact(msgspec.Struct, frozen=True, gc=False):
    """`timestamp` and `received_at` are Unix seconds; `user_id` is None where `kind` is reset, and only there."""

    project_id: str
    anonymous_id: str
    user_id: str | None
    timestamp: float
    message_id: str
    kind: LinkKind
    received_at: float


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(LinkFact).decode
