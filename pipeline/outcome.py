"""What a step says of a record that is no event: why it is refused.

A refusal is expected bad data and ends as a dead letter. Anything unexpected is an exception and ends the worker.
"""

from dataclasses import dataclass

from topics.rejected import Reason, Step


@dataclass(frozen=True, slots=True)
class Rejected:
    step: Step
    reason: Reason
    detail: str
