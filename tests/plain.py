"""The compiled reader of plain calls, held to the plain Python of it."""

from pipeline.rules import Rules
from pipeline.validate import event_of, validate
from topics.records import RawRecord
from topics.stitched import PlainEvent, StitchedEvent, encode


def is_plain(record: RawRecord, rules: Rules) -> bool:
    """Whether the reader takes the record. If it does, what it makes of it must be what `validate` makes of it."""
    event = event_of(record, rules)
    if not isinstance(event, PlainEvent):
        return False
    expected = validate(record, rules)
    assert isinstance(expected, StitchedEvent), (record.value, expected)
    assert encode(event) == encode(expected)
    for name in {*event.__struct_fields__} - {"before", "after"}:
        assert getattr(event, name) == getattr(expected, name), name
    return True
