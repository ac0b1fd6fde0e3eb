"""A key may send its rate, and two seconds of it at once."""

from ingress.rate_limit import RateLimiter
from topics.control import Key

NOW_MS = 1_790_000_000_000


def key(rate: int | None, name: str = "k") -> Key:
    return Key(name, "pk_", "p", "public", 1, rate_limit_per_s=rate)


def test_key_without_a_limit_never_waits() -> None:
    limiter = RateLimiter()
    assert {limiter.wait_s(key(None), 10_000, NOW_MS) for _ in range(100)} == {0}


def test_two_seconds_worth_goes_at_once_and_then_one_event_each_rate() -> None:
    limiter = RateLimiter()
    assert [limiter.wait_s(key(10), 1, NOW_MS) for _ in range(21)] == [0] * 20 + [1]
    assert limiter.wait_s(key(10), 1, NOW_MS + 99) == 1
    assert limiter.wait_s(key(10), 1, NOW_MS + 100) == 0
    assert limiter.wait_s(key(10), 1, NOW_MS + 100) == 1


def test_what_is_refused_is_not_charged() -> None:
    limiter = RateLimiter()
    assert limiter.wait_s(key(10), 20, NOW_MS) == 0
    assert {limiter.wait_s(key(10), 5, NOW_MS) for _ in range(50)} == {1}
    assert limiter.wait_s(key(10), 5, NOW_MS + 500) == 0


def test_same_request_is_taken_after_the_wait_that_was_told() -> None:
    limiter = RateLimiter()
    for events in (20, 7, 2500, 1, 20):
        waited_ms = NOW_MS + 1000 * limiter.wait_s(key(10), events, NOW_MS)
        fresh = RateLimiter()
        fresh.wait_s(key(10), 20, NOW_MS)
        wait_s = fresh.wait_s(key(10), events, NOW_MS)
        assert fresh.wait_s(key(10), events, NOW_MS + 1000 * wait_s) == 0
        assert waited_ms >= NOW_MS


def test_batch_larger_than_the_bucket_is_taken_when_full_and_paid_for_afterwards() -> None:
    limiter = RateLimiter()
    assert limiter.wait_s(key(10), 100, NOW_MS) == 0
    assert limiter.wait_s(key(10), 1, NOW_MS) == 9  # 80 owed, and one more
    assert limiter.wait_s(key(10), 1, NOW_MS + 8_000) == 1
    assert limiter.wait_s(key(10), 1, NOW_MS + 8_100) == 0


def test_keys_do_not_share_a_bucket() -> None:
    limiter = RateLimiter()
    assert limiter.wait_s(key(1, "a"), 2, NOW_MS) == 0
    assert limiter.wait_s(key(1, "a"), 1, NOW_MS) == 1
    assert limiter.wait_s(key(1, "b"), 1, NOW_MS) == 0


def test_clock_that_goes_back_gives_no_tokens_and_takes_none() -> None:
    limiter = RateLimiter()
    assert limiter.wait_s(key(1), 2, NOW_MS) == 0
    assert limiter.wait_s(key(1), 1, NOW_MS - 60_000) == 1
    assert limiter.wait_s(key(1), 1, NOW_MS - 59_000) == 0


def test_rate_that_was_changed_counts_at_once() -> None:
    limiter = RateLimiter()
    assert limiter.wait_s(key(100), 10, NOW_MS) == 0
    assert limiter.wait_s(key(1), 2, NOW_MS) == 0
    assert limiter.wait_s(key(1), 1, NOW_MS) == 1


def test_memory_is_bounded_and_the_key_used_last_is_remembered() -> None:
    limiter = RateLimiter(max_buckets=3)
    for name in "abcd":
        assert limiter.wait_s(key(1, name), 2, NOW_MS) == 0
    assert limiter.wait_s(key(1, "d"), 1, NOW_MS) == 1
    assert limiter.wait_s(key(1, "a"), 1, NOW_MS) == 0  # forgotten, so full again
