"""What can go wrong with a replay, besides Kafka and the store.

ReplayError
├── Refused       it cannot be done as it was asked for; nothing was changed
└── Interrupted   it stopped half way; what is done is kept, and to repeat the command goes on there
"""


class ReplayError(Exception):
    """The message is one line: what, where, what to do."""


class Refused(ReplayError):
    """Ask for something else, or mend first what the message says."""


class Interrupted(ReplayError):
    """Repeat the command once the message's cause is gone."""
