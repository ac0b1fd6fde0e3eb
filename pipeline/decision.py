"""What the stitch agent decides over one batch, before any of it has happened."""

from dataclasses import dataclass, field

from pipeline.receipts import Receipts
from topics.lines import Lines
from topics.records import Record


@dataclass(slots=True)
class Decision:
    """What one batch comes to. `stitched`, `links` and `rejected` are records for their topics, on the batch's own
    partition; `edges` those of `identity.merges`, by project; `owners` the rows of the identity table that change, None
    where one goes; `claimed` the ids to remember once all that is durable."""

    stitched: list[Record] = field(default_factory=list)
    links: Lines = field(default_factory=Lines)
    edges: dict[str, list[Record]] = field(default_factory=dict)
    rejected: list[Record] = field(default_factory=list)
    owners: dict[bytes, bytes | None] = field(default_factory=dict)
    claimed: Receipts = field(default_factory=lambda: Receipts.blank(0))
    duplicates: int = 0
