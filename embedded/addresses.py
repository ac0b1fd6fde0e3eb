"""Where the embedded parts answer: settings that say `embedded` become settings with addresses.

Arrives: settings. Leaves: settings that any client can connect with. The addresses are those of the run files that
the running parts keep in the data folder; nothing is started here.
"""

from typing import Literal

from embedded.errors import EmbeddedError
from embedded.process import read_run, run_file
from pipeline.settings import EMBEDDED, Settings

Engine = Literal["kafka", "store"]


def resolve(settings: Settings, *engines: Engine) -> Settings:
    """Addresses for the engines that are asked for. Raises EmbeddedError where one is to be embedded and does not
    run; worth a retry while it starts."""
    return settings.model_copy(update={engine: _address(settings, engine) for engine in engines})


def _address(settings: Settings, engine: Engine) -> str:
    given = settings.kafka if engine == "kafka" else settings.store
    if given != EMBEDDED:
        return given
    run = read_run(run_file(settings.data, engine))
    if run is None:
        raise EmbeddedError(
            f"{engine}: the embedded one does not run in {settings.data}; start it with `whipstitch up`, "
            f"or set WHIPSTITCH_{engine.upper()} to one that runs"
        )
    return run.address
