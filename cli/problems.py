"""Expected failures become one message on stderr and exit code 1; anything else is our bug and keeps its traceback."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def telling(*expected: type[Exception]) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """For a command: these exceptions, whose messages are written for people, end it with exit code 1."""

    def decorate(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @wraps(command)
        def told(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
            try:
                return command(*args, **options)
            except expected as error:
                raise click.ClickException(str(error)) from error

        return told

    return decorate
