"""A worker without dedupe and identity, only to be measured: what the guarantees cost is what it does not.

Everything else is the production worker's: validation, the stitched record, confirmed publishing, sinks, commits.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never
from unittest.mock import patch

from agents.worker import run
from pipeline import dead_letters, settings
from pipeline.decision import Decision
from pipeline.dedupe import SeenIds
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.stitch import PlainBatch
from pipeline.validate import validate
from topics import stitched
from topics.records import RawRecord
from topics.stitched import StitchedEvent


def decide(records: Sequence[RawRecord], seen: SeenIds, stored_owners: Mapping[bytes, bytes], rules: Rules) -> Decision:
    """In place of `pipeline.stitch.decide`: no id is looked for, none is claimed, and nobody is tied to anybody."""
    decision, batch, row = Decision(), PlainBatch(records, rules.max_event_bytes), 0
    while (row := batch.take(row, None, None, decision)) < len(records):
        _take(records[row], rules, decision)
        row += 1
    return decision


def _take(record: RawRecord, rules: Rules, decision: Decision) -> None:
    match validate(record, rules):
        case StitchedEvent() as event:
            decision.stitched.append((record.key, stitched.encode(event), record.timestamp, ()))
        case Rejected() as refused:
            decision.rejected.append(dead_letters.dead_letter(record, refused))
        case other:
            assert_never(other)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ready-file", type=Path, required=True)
    with patch("agents.stitch.decide", decide):
        return run(settings.load(), arguments.parse_args().ready_file)


if __name__ == "__main__":
    sys.exit(main())
