"""Processes of our own that stand still for a while, as on a machine that is overloaded."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any


@contextmanager
def paused(process: "Popen[Any]") -> Iterator[None]:
    """It stands still from the beginning on. The signal alone leaves threads on other cores running for a moment, in
    which a broker may still answer."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
