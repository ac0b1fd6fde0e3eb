from pipeline.dedupe import SeenIds, seen_id

WINDOW_S = 100.0
ID = seen_id("p", "m")


def remembered(*received_at: float) -> SeenIds:
    seen = SeenIds(WINDOW_S)
    for at in received_at:
        seen.remember(ID, at)
    return seen


def test_an_id_is_new_until_it_is_remembered() -> None:
    seen = SeenIds(WINDOW_S)
    assert not seen.has(ID, 1000.0)
    seen.remember(ID, 1000.0)
    assert seen.has(ID, 1000.0)


def test_the_window_ends_exactly_where_it_says() -> None:
    seen = remembered(1000.0)
    assert seen.has(ID, 1099.999)
    assert not seen.has(ID, 1100.0)


def test_a_repeat_does_not_prolong_the_window() -> None:
    seen = remembered(1000.0, 1050.0)
    assert not seen.has(ID, 1100.0)


def test_a_repeat_after_the_window_starts_a_new_one() -> None:
    assert remembered(1000.0, 1100.0).has(ID, 1150.0)


def test_a_clock_that_jumped_back_still_finds_the_repeat() -> None:
    assert remembered(1000.0).has(ID, 10.0)


def test_projects_do_not_share_ids() -> None:
    assert seen_id("p1", "m") != seen_id("p2", "m")
    assert seen_id("p", "1m") != seen_id("p1", "m")


def test_what_is_past_the_window_is_forgotten() -> None:
    seen = SeenIds(WINDOW_S)
    for n in range(10_000):
        seen.remember(seen_id("p", str(n)), float(n))
    assert len(seen) <= WINDOW_S
