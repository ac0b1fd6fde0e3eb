"""Every request that the documentation shows is one that can be pasted: it is answered as the page says, and what it
sent is stored."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.whole_service import Service
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
HOST = "http://127.0.0.1:8080"
# A request, and the answer to it where the page shows one right below.
_BLOCK = re.compile(r"^```sh\n(curl .*?)^```(?:\n+```json\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
_REFUSAL = re.compile(r'"error":\s*"|"success":\s*false')
_SENDS = re.compile(r"\s(-d|-F|--data\S*|--form|--json)\s|[?&]data=")
# Whatever the block says, each of its requests tells its status on a line of its own.
_CURL = 'set -eu\ncurl() { command curl -sS --max-time 30 -w "\\nstatus %{http_code}\\n" "$@"; }\n'


def shown_requests() -> list[object]:
    return [
        pytest.param(block, answer, id=f"{page.stem}-{number}")
        for page in sorted((ROOT / "docs").glob("*.md"))
        for number, (block, answer) in enumerate(_BLOCK.findall(page.read_text()), start=1)
    ]


def test_the_pages_show_requests() -> None:
    assert shown_requests()


@pytest.mark.parametrize(("block", "answer"), shown_requests())
def test_request_shown_works_when_pasted(service: Service, block: str, answer: str, tmp_path: Path) -> None:
    assert HOST in block
    secret, key = service.key()
    script = _CURL + block.replace(HOST, service.ingress.url)
    environ = {**os.environ, "KEY": secret}
    done = subprocess.run(["sh", "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    statuses = re.findall(r"^status (\d{3})$", done.stdout, re.MULTILINE)
    is_refusal = _REFUSAL.search(answer) is not None
    assert statuses
    assert {status[0] for status in statuses} == {"4" if is_refusal else "2"}, done.stdout
    if not is_refusal and _SENDS.search(block):
        stored = "events WHERE project_id = {p:String}"
        eventually(lambda: service.system.count(stored, p=key.project_id) > 0, f"a row of: {block}")
