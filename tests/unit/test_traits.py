"""Reserved traits: one spelling of each, their types looked at, what is missing filled in."""

import json

import pytest
from msgspec import Raw

from pipeline.traits import email_of, group_traits, is_email, person_traits
from topics.raw import EMPTY_OBJECT

Traits = dict[str, object]


def person(
    given: Traits | bytes, user_id: str | None = "u1", under: Traits | None = None
) -> tuple[dict[str, object], list[str]]:
    """What is stored of these traits, and the warnings."""
    warnings: list[str] = []
    text = person_traits(_raw(given), _raw(under) if under is not None else EMPTY_OBJECT, user_id, warnings)
    return json.loads(bytes(text)), warnings


def _raw(traits: Traits | bytes) -> Raw:
    return Raw(traits if isinstance(traits, bytes) else json.dumps(traits).encode())


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"created_at": "2015-02-23"}, {"createdAt": "2015-02-23"}),
        ({"first_name": "Peter"}, {"firstName": "Peter"}),
        ({"last_name": "Gibbons"}, {"lastName": "Gibbons"}),
        ({"address": {"postal_code": "94103", "city": "SF"}}, {"address": {"postalCode": "94103", "city": "SF"}}),
        ({"company": {"employeeCount": 7, "name": "I"}}, {"company": {"employee_count": 7, "name": "I"}}),
        ({"company": {"employee_count": 7}}, {"company": {"employee_count": 7}}),
        ({"likes_baseball": True, "gamesAttended": 5}, {"likes_baseball": True, "gamesAttended": 5}),
        ({"address": {"first_name": "not a person's"}}, {"address": {"first_name": "not a person's"}}),
        ({"postal_code": "not in an address"}, {"postal_code": "not in an address"}),
    ],
)
def test_reserved_traits_have_one_spelling_and_others_stay_as_they_are(sent: Traits, stored: Traits) -> None:
    assert person(sent) == (stored, [])


@pytest.mark.parametrize(
    ("sent", "stored", "warnings"),
    [
        ({"first_name": "a", "firstName": "b"}, {"firstName": "b"}, ["trait_twice:firstName"]),
        ({"firstName": "b", "first_name": "a"}, {"firstName": "b"}, ["trait_twice:firstName"]),
        (
            {"address": {"postal_code": "1", "postalCode": "2"}},
            {"address": {"postalCode": "2"}},
            ["trait_twice:address.postalCode"],
        ),
        (
            {"company": {"employeeCount": 1, "employee_count": 2}},
            {"company": {"employee_count": 2}},
            ["trait_twice:company.employee_count"],
        ),
    ],
)
def test_of_two_spellings_the_stores_own_counts_and_the_other_is_told(
    sent: Traits, stored: Traits, warnings: list[str]
) -> None:
    assert person(sent) == (stored, warnings)


RIGHT: dict[str, list[object]] = {
    "address": [{"city": "SF", "country": "USA", "postalCode": "94103", "state": "CA", "street": "6th St"}, {}],
    "age": [36, 36.5, -1],
    "avatar": ["https://example.com/a.png"],
    "birthday": ["1965-05-01", "2015-02-23T22:28:55.387Z", "2015-02-23T22:28:55+00:00", -147000000, 1424730535387],
    "company": [{"name": "I", "id": 1, "industry": "x", "employee_count": 1, "plan": "p"}, {"id": "1"}],
    "createdAt": ["2015-02-23", "2015-02-23T22:28:55.387111", 1424730535],
    **{
        name: ["text", ""]
        for name in ("description", "email", "firstName", "gender", "id", "lastName", "name", "phone", "title")
    },
    **{name: ["text"] for name in ("username", "website")},
}
WRONG: dict[str, list[object]] = {
    "address": ["6th St", 1, [], True],
    "age": ["36", {}, True],
    "birthday": ["tomorrow", "", {}, False, "23/02/2015"],
    "company": ["Initech", 7, ["Initech"]],
    "createdAt": ["soon", [2015], True],
    **{
        name: [1, 1.5, True, {}, ["x"]]
        for name in (
            *("avatar", "description", "email", "firstName", "gender", "id", "lastName", "name", "phone", "title"),
            *("username", "website"),
        )
    },
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values])
def test_a_reserved_trait_of_its_type_is_kept_without_a_word(name: str, value: object) -> None:
    assert person({name: value}) == ({name: value}, [])


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_reserved_trait_of_another_type_is_kept_with_a_warning_of_its_name(name: str, value: object) -> None:
    assert person({name: value}) == ({name: value}, [f"trait_type:{name}"])


@pytest.mark.parametrize(
    ("name", "value"), [("name", 1), ("id", True), ("industry", []), ("employee_count", "7"), ("plan", {})]
)
def test_what_is_wrong_in_a_company_is_told_by_its_path(name: str, value: object) -> None:
    assert person({"company": {name: value}}) == ({"company": {name: value}}, [f"trait_type:company.{name}"])


@pytest.mark.parametrize("name", RIGHT)
def test_null_takes_a_trait_back_whatever_its_type(name: str) -> None:
    assert person({name: None}) == ({name: None}, [])


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({"firstName": "Peter", "lastName": "Gibbons"}, "Peter Gibbons"),
        ({"first_name": " Peter ", "last_name": "Gibbons"}, "Peter Gibbons"),
        ({"firstName": "Zoë", "lastName": 'O"Neil'}, 'Zoë O"Neil'),
        ({"firstName": "Peter", "lastName": "Gibbons", "name": None}, "Peter Gibbons"),
        ({"firstName": "Peter", "lastName": "Gibbons", "name": ""}, "Peter Gibbons"),
        ({"firstName": "Peter", "lastName": "Gibbons", "name": "Pete"}, "Pete"),
        ({"firstName": "Peter"}, None),
        ({"lastName": "Gibbons"}, None),
        ({"firstName": "", "lastName": "Gibbons"}, None),
        ({"firstName": None, "lastName": "Gibbons"}, None),
        ({"firstName": 1, "lastName": "Gibbons"}, None),
    ],
)
def test_name_is_filled_where_only_first_and_last_name_are_given(sent: Traits, name: str | None) -> None:
    assert person(sent)[0].get("name") == name


@pytest.mark.parametrize(
    ("user_id", "sent", "email"),
    [
        ("peter@example.com", {}, "peter@example.com"),
        ("peter@example.com", {"email": ""}, "peter@example.com"),
        ("peter@example.com", {"email": None}, "peter@example.com"),
        ("peter@example.com", {"email": "own@example.com"}, "own@example.com"),
        ("peter", {}, None),
        ("@peter", {}, None),
        (None, {}, None),
    ],
)
def test_an_email_as_user_id_is_the_email_trait_where_there_is_none(
    user_id: str | None, sent: Traits, email: str | None
) -> None:
    assert person(sent, user_id)[0].get("email") == email


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peter@example.com", True),
        ("peter+x@mail.example.co.uk", True),
        ("пётр@пример.рф", True),
        ("peter@localhost", False),
        ("a@b@c.d", False),
        ("peter gibbons@example.com", False),
        ("peter@example.", False),
        ("@example.com", False),
        ("", False),
        ("x" * 250 + "@example.com", False),
    ],
)
def test_what_looks_like_an_email_address(text: str, expected: bool) -> None:
    assert is_email(text) is expected


@pytest.mark.parametrize(
    ("traits", "email"),
    [
        ({"email": "a@example.com"}, "a@example.com"),
        ({"email": " a@example.com "}, "a@example.com"),
        ({"email": "nobody"}, None),
        ({"email": 7}, None),
        ({"email": None}, None),
        ({}, None),
    ],
)
def test_the_email_among_traits_is_one_that_looks_like_one(traits: Traits, email: str | None) -> None:
    assert email_of(_raw(traits)) == email


def test_what_is_given_lies_over_what_is_under_it_in_either_spelling() -> None:
    stored, warnings = person({"first_name": "own", "plan": "pro"}, under={"firstName": "old", "age": 3})
    assert (stored, warnings) == ({"firstName": "own", "plan": "pro", "age": 3}, [])


def test_traits_that_need_no_change_keep_their_very_bytes() -> None:
    sent = b'{ "email" : "a@example.com","big":1234567890123456789012345678901234567890, "x":1.50e+02 }'
    raw = Raw(sent)
    assert person_traits(raw, EMPTY_OBJECT, "u1", []) is raw
    assert group_traits(raw, []) is raw


def test_a_change_leaves_the_bytes_of_every_other_value() -> None:
    given = Raw(b'{"first_name":"a","big":12345678901234567890123,"x":1.50e+02,"deep":{"created_at":[ 1 ]}}')
    text = person_traits(given, EMPTY_OBJECT, "u1", [])
    assert bytes(text) == b'{"firstName":"a","big":12345678901234567890123,"x":1.50e+02,"deep":{"created_at":[ 1 ]}}'


@pytest.mark.parametrize(
    ("sent", "stored", "warnings"),
    [
        ({"created_at": "2015-02-23"}, {"createdAt": "2015-02-23"}, []),
        ({"address": {"postal_code": "1"}}, {"address": {"postalCode": "1"}}, []),
        ({"employees": 329, "id": 7}, {"employees": 329, "id": 7}, []),
        ({"employees": "329"}, {"employees": "329"}, []),
        ({"name": 7}, {"name": 7}, ["trait_type:name"]),
        ({"firstName": "a", "lastName": "b"}, {"firstName": "a", "lastName": "b"}, []),
    ],
)
def test_a_groups_traits_are_its_own(sent: Traits, stored: Traits, warnings: list[str]) -> None:
    told: list[str] = []
    assert json.loads(bytes(group_traits(_raw(sent), told))) == stored
    assert told == warnings
