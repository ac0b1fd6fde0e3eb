"""What a request's URL, headers and form mean."""

import pytest

from embedded.clickhouse_request import read_form, read_request, refuse_other_sites
from embedded.connection import EngineError


def test_url_parameter_that_the_interface_does_not_know_is_a_setting() -> None:
    request = read_request("POST", "query=select+1&max_threads=3&user=me&database=other&param_x=%27a", {}, {})

    assert request.query == b"select 1"
    assert request.context.settings == {"max_threads": "3"}
    assert request.context.parameters == {"x": "'a"}
    assert request.context.database == "other"


def test_get_only_reads() -> None:
    assert read_request("GET", "readonly=0", {}, {}).context.settings == {"readonly": "2"}


def test_url_wins_over_headers() -> None:
    headers = {"x-clickhouse-database": "from_header", "x-clickhouse-format": "CSV"}

    assert read_request("POST", "", headers, {}).context.database == "from_header"
    assert read_request("POST", "database=d", headers, {}).context.database == "d"
    assert read_request("POST", "", headers, {}).format == "CSV"
    assert read_request("POST", "default_format=JSON", headers, {}).format == "JSON"


def test_answer_is_compressed_only_where_both_ask() -> None:
    accepting = {"accept-encoding": "gzip"}

    assert read_request("POST", "enable_http_compression=1", accepting, {}).answer_encoding == "gzip"
    assert read_request("POST", "enable_http_compression=0", accepting, {}).answer_encoding == ""
    assert read_request("POST", "", accepting, {}).answer_encoding == ""


def test_every_run_has_a_tag_of_its_own() -> None:
    first, second = (read_request("POST", "query_id=same", {}, {}) for _ in range(2))

    assert first.query_id == second.query_id == "same"
    assert first.context.tag != second.context.tag


def test_form_carries_query_and_parameters() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nselect {x:String}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="param_x"\r\n\r\n\xc3\xa9\r\n--b--\r\n'
    )

    assert read_form("multipart/form-data; boundary=b", body) == {"query": "select {x:String}", "param_x": "é"}


def test_table_sent_along_is_refused_rather_than_ignored() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--b--\r\n'

    with pytest.raises(EngineError, match="external tables"):
        read_form("multipart/form-data; boundary=b", body)


@pytest.mark.parametrize(
    "headers",
    [{"host": "rebound.example:8123"}, {"host": "127.0.0.1", "origin": "https://evil.example"}, {"origin": "null"}],
)
def test_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="may not use"):
        refuse_other_sites(headers)


@pytest.mark.parametrize("host", ["localhost:8123", "127.0.0.1", "[::1]:8123"])
def test_loopback_names_are_let_in(host: str) -> None:
    refuse_other_sites({"host": host, "origin": f"http://{host}"})
