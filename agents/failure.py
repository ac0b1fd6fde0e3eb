"""A bug of ours, or a world that retrying cannot mend: the process ends at once, loudly, with nothing more committed.

Whatever supervises the worker starts it again, and it goes on from the last committed offset.
"""

import logging
import os
import sys
from typing import Any, NoReturn

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

logger = logging.getLogger(__name__)


async def end_process(agent: Any, error: BaseException) -> NoReturn:
    """Faust's `on_error` of an agent. Faust itself would restart the agent and go on behind the failed batch."""
    die(f"agent {agent.name!r}", error)


def die(where: str, error: BaseException) -> NoReturn:
    logger.critical("%s failed; ending the worker with its offsets uncommitted", where, exc_info=error)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
