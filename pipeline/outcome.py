"""What the steps may say of one record: it is an event (`StitchedEvent`), it is refused, or it is dropped on purpose.

A refusal is expected bad data and ends as a dead letter. Anything unexpected is an exception and ends the worker.
"""

from dataclasses import dataclass
from enum import StrEnum

from topics.rejected import Reason, Step


class DropCause(StrEnum):
    DUPLICATE = "duplicate"  # its messageId was stored already, within the window


@dataclass(frozen=True, slots=True)
class Rejected:
    step: Step
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Dropped:
    cause: DropCause
