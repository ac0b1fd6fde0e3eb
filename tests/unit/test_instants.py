import pytest

from pipeline.instants import corrected, read_instant


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("2015-02-23T22:28:55.387Z", 1424730535387),
        ("2015-02-23T22:28:55.387111+00:00", 1424730535387),
        ("2015-02-23T23:28:55+01:00", 1424730535000),
        ("2015-02-23T22:28:55", 1424730535000),
        ("2015-02-23", 1424649600000),
        (1424730535, 1424730535000),
        (1424730535.387, 1424730535387),
        (1424730535387, 1424730535387),
    ],
)
def test_what_clients_write_is_read_as_utc_milliseconds(written: str | float, milliseconds: int) -> None:
    assert read_instant(written) == milliseconds


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "2015-13-01", "0001-01-01T00:00:00Z", -5, 1e300, -1e308, 10**400, "9999-12-31T23:59:59Z"],
)
def test_what_is_no_instant_is_told_as_none(written: str | float) -> None:
    assert read_instant(written) is None


def test_a_wrong_client_clock_is_corrected_by_how_far_it_was_off_when_sending() -> None:
    assert corrected(received_at_ms=10_000, sent_at_ms=70_000, original_ms=69_000) == 9_000


def test_nothing_happens_after_its_receipt() -> None:
    assert corrected(received_at_ms=10_000, sent_at_ms=5_000, original_ms=6_000) == 10_000
    assert corrected(received_at_ms=10_000, sent_at_ms=None, original_ms=99_000) == 10_000


def test_without_a_timestamp_it_happened_when_it_was_received() -> None:
    assert corrected(received_at_ms=10_000, sent_at_ms=9_000, original_ms=None) == 10_000
