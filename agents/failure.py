"""A bug of ours, or a world that retrying cannot mend: the process ends at once, loudly, with nothing more committed.

Whatever supervises the worker starts it again, and it goes on from the last committed offset.
"""

import logging
import os
import sys
from typing import NoReturn

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

logger = logging.getLogger(__name__)


def die(where: str, error: BaseException) -> NoReturn:
    """Say what failed and where, with the traceback, and end the process with EXIT_CODE."""
    logger.critical("%s failed; ending the worker with its offsets uncommitted", where, exc_info=error)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
