"""One whole service for the tests that only send to it: each works in a project of its own."""

from collections.abc import Iterator

import pytest

from tests.integration.whole_service import Service, whole_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with whole_service(tmp_path_factory.mktemp("service")) as running:
        yield running
