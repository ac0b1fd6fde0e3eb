"""Record batches as aiokafka's own builder makes them, and records of all forms to put into them."""

from collections.abc import Sequence
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import strategies as st

from bench import load
from broker.batch_header import NO_CODEC
from topics.records import Record

GZIP: Final = 1

MIXED: Final[list[Record]] = [
    *(record for _, record in load.records(20, 1)),
    (None, b"v", 5, ()),
    (b"k", None, 6, ()),
    (b"", b"", 7, (("name", b""), ("name", b"twice"))),
    (None, None, -1, (("größe", b"\0"),)),
]

texts = st.text(st.characters(codec="utf-8"), max_size=200)
headers = st.lists(st.tuples(texts, st.binary(max_size=200)), max_size=3).map(tuple)
records = st.tuples(
    st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=20_000), st.integers(-(2**40), 2**45), headers
)
record_lists = st.lists(records, min_size=1, max_size=5)


def built(
    given: Sequence[Record], codec: int = NO_CODEC, *, batch_size: int = 1 << 24, is_transactional: int = 0
) -> bytes:
    """As many of the records as there is room for, in one batch."""
    return bytes(builder(given, codec, batch_size=batch_size, is_transactional=is_transactional).build())


def builder(
    given: Sequence[Record], codec: int = NO_CODEC, *, batch_size: int = 1 << 24, is_transactional: int = 0
) -> DefaultRecordBatchBuilder:
    filled = DefaultRecordBatchBuilder(
        2, codec, is_transactional, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=batch_size
    )
    for offset, (key, value, timestamp, said) in enumerate(given):
        if filled.append(offset, timestamp=timestamp, key=key, value=value, headers=[*said]) is None:
            break
    return filled
