"""The ingress against its own OpenAPI document, by schemathesis: no 5xx, no answer that the document does not have."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from broker.topics import create_topics
from embedded.kafka import RunningKafka
from pipeline.settings import Settings
from tests.integration.ingress_process import basic, known_key, running_ingress, wait_ready

# What an ingress takes and only the worker behind it refuses is taken on purpose, so negative data may be answered 200.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
PATHS = r"^/(v1/(identify|track|batch|import|alias|b|m)|track|engage|import|sourceConfig|health/live|metrics)$"


@pytest.fixture(scope="module")
def bootstrap(kafka: RunningKafka) -> str:
    asyncio.run(create_topics(Settings.model_validate({"kafka": kafka.bootstrap, "partitions": 4})))
    return kafka.bootstrap


def test_the_ingress_does_what_its_openapi_document_says(bootstrap: str, tmp_path: Path) -> None:
    with running_ingress(bootstrap, tmp_path) as ingress:
        wait_ready(ingress)
        secret, _ = known_key(ingress)
        told = subprocess.run(
            [
                *(Path(sys.executable).parent / "st", "run", f"{ingress.url}/openapi.json"),
                *("--header", f"Authorization: {basic(secret)}", "--include-path-regex", PATHS),
                *("--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--checks", CHECKS),
                *("--workers", "2", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ingress.is_ready()
    assert told.returncode == 0, told.stdout + told.stderr
