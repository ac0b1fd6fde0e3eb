"""What a person is told when an embedded part cannot start or has stopped: one line, and what to do about it."""


class EmbeddedError(Exception):
    """An embedded part cannot run. The message says what, where and what to do. Retrying alone does not help."""
