"""A bug of ours, or a world that retrying cannot mend: the process ends at once, loudly, with nothing more committed.

Whatever supervises the worker starts it again, and it goes on from the last committed offset.
"""

import logging
import os
import sys
from typing import NoReturn

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
STAY_DOWN = 78  # EX_CONFIG: what starts it again does no good before somebody has looked

logger = logging.getLogger(__name__)


class StandDown(Exception):
    """Going on would do harm. The message says what a person has to do before the worker is started again."""


def die(where: str, error: BaseException) -> NoReturn:
    """Say what failed and where, and end the process: with STAY_DOWN for StandDown, else with EXIT_CODE and the
    traceback."""
    if isinstance(error, StandDown):
        logger.critical("%s stops: %s", where, error)
    else:
        logger.critical("%s failed; ending the worker with its offsets uncommitted", where, exc_info=error)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(STAY_DOWN if isinstance(error, StandDown) else EXIT_CODE)
