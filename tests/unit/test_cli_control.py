"""Projects and keys on the command line: what is changed, which key is meant, what is kept of a key."""

from collections.abc import Iterable

import click
import msgspec
import pytest

from cli import control
from cli.keys import one_key
from cli.projects import Given, changed, set_project
from pipeline.directory import Directory
from topics.control import Key, KeyKind, Project, encode, key_hash, record_key

SHOP = Project(id="shop", created_at_ms=1, blocked_ids=("test",))
NOTHING: Given = {
    "policy": None,
    "implicit_links": None,
    "max_users_per_anonymous_id": None,
    "max_users_per_person": None,
    "public_user_edges": None,
    "block": (),
}


def directory(*records: Project | Key) -> Directory:
    return Directory().apply((record_key(record), encode(record)) for record in records)


def key(secret: str, hint: str = "sk_0000") -> Key:
    return Key(hash=key_hash(secret), hint=hint, project_id="shop", kind="secret", created_at_ms=1)


def refusal(found: Directory, given: str) -> str:
    with pytest.raises(click.ClickException) as raised:
        one_key(found, given)
    return raised.value.message


def test_what_is_not_named_stays_as_it_was() -> None:
    assert changed(SHOP, NOTHING) == SHOP


def test_every_setting_of_a_project_can_be_set() -> None:
    given: Given = {
        "policy": "isolate",
        "implicit_links": False,
        "max_users_per_anonymous_id": 3,
        "max_users_per_person": 5,
        "public_user_edges": True,
        "block": ("x",),
    }
    project = changed(SHOP, given)
    assert msgspec.structs.asdict(project) == {
        "id": "shop",
        "created_at_ms": 1,
        "policy": "isolate",
        "implicit_links": False,
        "max_users_per_anonymous_id": 3,
        "blocked_ids": ("test", "x"),
        "public_user_edges": True,
        "max_users_per_person": 5,
    }


def test_each_field_of_a_project_has_its_option() -> None:
    fixed = {"id", "created_at_ms"}
    options = {parameter.name for parameter in set_project.params}
    named = {"blocked_ids": "block"}
    assert {named.get(field, field) for field in Project.__struct_fields__ if field not in fixed} <= options


def test_blocked_ids_are_added_once_and_taken_off() -> None:
    assert changed(SHOP, {**NOTHING, "block": ("test", "a")}, unblock=("nobody",)).blocked_ids == ("a", "test")
    assert changed(SHOP, NOTHING, unblock=("test",)).blocked_ids == ()


def test_unknown_project_is_told_with_those_there_are() -> None:
    found = directory(SHOP, Project(id="app", created_at_ms=1))
    assert control.project(found, "shop") == SHOP
    with pytest.raises(click.ClickException, match="no project 'shpo'; there are: app, shop;"):
        control.project(found, "shpo")
    with pytest.raises(click.ClickException, match="there are: none"):
        control.project(Directory(), "shop")


@pytest.mark.parametrize(("kind", "prefix"), [("public", "pk_"), ("secret", "sk_")])
def test_of_a_new_key_only_hash_and_hint_are_kept(kind: KeyKind, prefix: str) -> None:
    secret, record = control.new_key("shop", kind, origins=("https://shop.example",))
    assert secret.startswith(prefix)
    assert directory(record).key_for(secret) == record
    assert secret.removeprefix(record.hint) not in encode(record).decode()


@pytest.mark.parametrize(
    "given", ["sk_aaaa", "sk_aaaa…", "sk_aaaa_the_whole_key", key_hash("sk_aaaa_the_whole_key")[:9]]
)
def test_key_is_named_by_hint_by_itself_or_by_its_hash(given: str) -> None:
    meant = key("sk_aaaa_the_whole_key", hint="sk_aaaa")
    assert one_key(directory(meant, key("sk_bbbb_another", hint="sk_bbbb")), given) == meant


@pytest.mark.parametrize("given", ["sk_zzzz", "sk_", "", key_hash("sk_aaaa_the_whole_key")[:6]])
def test_what_names_no_key_revokes_none(given: str) -> None:
    assert "whipstitch keys list" in refusal(directory(key("sk_aaaa_the_whole_key", hint="sk_aaaa")), given)


def test_hint_of_two_keys_revokes_none_and_names_their_hashes() -> None:
    keys = [key("sk_1"), key("sk_2")]
    message = refusal(directory(*keys), "sk_0000")
    assert all(hash_ in message for hash_ in hashes(keys))


def test_whole_key_is_meant_even_where_its_hint_is_not_its_alone() -> None:
    meant = key("sk_0000_1")
    assert one_key(directory(meant, key("sk_0000_2")), "sk_0000_1") == meant


def hashes(keys: Iterable[Key]) -> list[str]:
    return [key.hash[:12] for key in keys]
