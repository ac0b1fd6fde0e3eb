"""Tests of what is compiled are left out where whipstitch was installed without a C compiler, and never in CI."""

import os
from importlib.util import find_spec

import pytest


def needs(module: str) -> None:
    """Skip the whole test module without this one."""
    if find_spec(module) is None and not os.environ.get("CI"):
        pytest.skip("whipstitch was installed here without a C compiler", allow_module_level=True)
