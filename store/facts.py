"""Facts of identity as they stand in the topics, from the rows that the store keeps of them."""

from store.client import Row
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.links import LinkFact, LinkKind


def link_of(row: Row) -> LinkFact:
    """From the columns of `identity_links`."""
    return LinkFact(
        project_id=row["project_id"],
        anonymous_id=row["anonymous_id"],
        user_id=row["user_id"],
        timestamp=row["timestamp"].timestamp(),
        message_id=row["message_id"],
        kind=LinkKind(row["kind"]),
        received_at=row["received_at"].timestamp(),
    )


def edge_of(row: Row) -> EdgeFact:
    """From the columns of `identity_edges_stored`."""
    return EdgeFact(
        project_id=row["project_id"],
        kind=EdgeKind(row["kind"]),
        action=EdgeAction(row["action"]),
        from_user_id=row["from_user_id"],
        to_user_id=row["to_user_id"],
        timestamp=row["timestamp"].timestamp(),
        message_id=row["message_id"],
        received_at=row["received_at"].timestamp(),
    )
