"""The directory is a fold: the same records give the same directory, before compaction and after."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.directory import ControlRecord, Directory
from topics.control import Key, Project, encode, key_hash, key_hint, record_key

SECRET = "sk_" + "0123456789" * 4
KEY = Key(hash=key_hash(SECRET), hint=key_hint(SECRET), project_id="shop", kind="secret", created_at_ms=1)
SHOP = Project(id="shop", created_at_ms=1)


def written(record: Project | Key) -> ControlRecord:
    return record_key(record), encode(record)


def removed(record: Project | Key) -> ControlRecord:
    return record_key(record), None


def test_project_and_key_are_found_by_id_and_by_secret() -> None:
    directory = Directory().apply([written(SHOP), written(KEY)])
    assert directory.projects == {"shop": SHOP}
    assert directory.key_for(SECRET) == KEY


def test_unknown_secret_has_no_key() -> None:
    directory = Directory().apply([written(KEY)])
    assert directory.key_for(SECRET + "0") is None
    assert directory.key_for("") is None
    assert directory.key_for("\ud800") is None


def test_hash_itself_is_no_secret() -> None:
    assert Directory().apply([written(KEY)]).key_for(KEY.hash) is None


def test_revoked_key_is_absent() -> None:
    directory = Directory().apply([written(KEY), removed(KEY)])
    assert directory.key_for(SECRET) is None
    assert directory.unreadable == {}


def test_last_record_of_a_key_wins() -> None:
    changed = Project(id="shop", created_at_ms=1, policy="last_wins")
    assert Directory().apply([written(SHOP), written(changed)]).projects["shop"].policy == "last_wins"


def test_directory_before_a_change_stays_as_it_was() -> None:
    before = Directory().apply([written(KEY)])
    after = before.apply([removed(KEY)])
    assert before.key_for(SECRET) == KEY
    assert after.key_for(SECRET) is None


def test_unreadable_record_is_skipped_with_its_reason_and_the_rest_is_kept() -> None:
    directory = Directory().apply([written(SHOP), (b"key/abc", b"{not json"), written(KEY)])
    assert directory.key_for(SECRET) == KEY
    assert directory.projects == {"shop": SHOP}
    assert "malformed" in directory.unreadable[b"key/abc"]


def test_record_that_is_nested_too_deep_is_skipped() -> None:
    assert b"key/abc" in Directory().apply([(b"key/abc", b"[" * 100_000)]).unreadable


def test_record_of_a_newer_version_names_the_field_that_it_cannot_read() -> None:
    newer = encode(SHOP).replace(b'"interval"', b'"quantum"')
    assert "policy" in Directory().apply([(b"project/shop", newer)]).unreadable[b"project/shop"]


def test_unreadable_record_takes_away_what_its_key_held() -> None:
    key = record_key(KEY)
    assert Directory().apply([written(KEY), (key, b"?")]).key_for(SECRET) is None


def test_record_under_another_key_than_its_own_admits_nobody() -> None:
    directory = Directory().apply([(b"key/abc", encode(KEY))])
    assert directory.key_for(SECRET) is None
    assert "inside it" in directory.unreadable[b"key/abc"]


def test_readable_record_clears_the_complaint_about_the_one_before() -> None:
    key = record_key(KEY)
    directory = Directory().apply([(key, b"?"), written(KEY)])
    assert directory.unreadable == {}
    assert directory.key_for(SECRET) == KEY


def test_record_without_key_is_skipped() -> None:
    directory = Directory().apply([(None, encode(KEY)), written(SHOP)])
    assert directory.unreadable.keys() == {b""}
    assert (directory.projects, directory.keys) == ({"shop": SHOP}, {})


EITHER = st.sampled_from(
    [
        *[written(Project(id=name, created_at_ms=n)) for name in "ab" for n in (1, 2)],
        *[removed(Project(id=name, created_at_ms=0)) for name in "ab"],
        written(KEY),
        removed(KEY),
        (record_key(KEY), b"unreadable"),
        (b"project/a", b"unreadable"),
        (b"something/else", b"1"),
        (None, b"2"),
    ]
)


@given(st.lists(EITHER, max_size=30))
def test_compaction_changes_nothing(records: list[ControlRecord]) -> None:
    compacted = list({key: (key, value) for key, value in records}.values())
    assert Directory().apply(records) == Directory().apply(compacted)


@given(st.lists(EITHER, max_size=30), st.integers(0, 30))
def test_applied_in_two_parts_or_at_once_is_the_same(records: list[ControlRecord], cut: int) -> None:
    assert Directory().apply(records[:cut]).apply(records[cut:]) == Directory().apply(records)
