"""What holds of any messages: the rows that the pipeline's pure steps make of random workloads, and the model's answer.

Each test takes workloads of its own; `test_view_properties.py` looks at the same through the views of the store.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.identity import model
from tests.identity.agreement import assert_agrees, content
from tests.identity.pure import Delivery, Tables, Worker, arrivals, deliver
from tests.identity.workloads import AFTER_THE_WINDOW_S, TICK_S, Workload, busy_ids, deliveries, examples, workloads

PARTITIONS = (1, 2, 7, 32)

seeds = st.integers(0, 1 << 16)


def tables_of(workload: Workload, how: Delivery) -> Tables:
    return deliver(workload.records(), workload.settings(), how)


@examples(0.2)
@given(workload=workloads(), how=deliveries())
def test_rows_say_what_the_model_says_however_messages_come(workload: Workload, how: Delivery) -> None:
    """1 to 5 in one, and 13: facts, persons as of every receipt, and which receipt of a message counts."""
    assert_agrees(tables_of(workload, how), workload.records(), workload.settings())


@examples(0.05)
@given(workload=workloads(), one=seeds, other=seeds)
def test_1_order_of_arrival_changes_nothing(workload: Workload, one: int, other: int) -> None:
    assert content(tables_of(workload, Delivery(one))) == content(tables_of(workload, Delivery(other)))


@examples(0.05)
@given(workload=workloads(), seed=seeds, later=st.sampled_from([1, TICK_S, AFTER_THE_WINDOW_S]))
def test_2_duplicates_change_nothing(workload: Workload, seed: int, later: float) -> None:
    """Records that the topic holds twice, and calls that a client sent again."""
    again = [message.moved(later) for message in workload.messages]
    repeated = Workload((*workload.messages, *again), workload.projects)
    assert content(tables_of(repeated, Delivery(seed, again=1.0))) == content(tables_of(workload, Delivery(seed)))


@examples(0.05)
@given(workload=workloads(), seed=seeds)
def test_3_number_of_partitions_changes_nothing(workload: Workload, seed: int) -> None:
    one, *others = [tables_of(workload, Delivery(seed, partitions)) for partitions in PARTITIONS]
    assert [content(other) for other in others] == [content(one)] * len(others)
    assert [other.written() for other in others] == [one.written()] * len(others)


@examples(0.05)
@given(workload=workloads(), how=deliveries())
def test_4_replay_and_crashes_change_nothing(workload: Workload, how: Delivery) -> None:
    expected = content(tables_of(workload, Delivery()))
    killed, replayed = tables_of(workload, replace(how, crashes=True)), tables_of(workload, how)
    assert content(killed) == expected
    both = Tables(killed.events + replayed.events, killed.links + replayed.links)
    assert {**content(both), "persons": {}} == {**expected, "persons": {}}


@examples(0.03)
@given(workload=workloads(), how=deliveries(), last=st.integers(1, 1000))
def test_4_last_records_delivered_again_change_nothing(workload: Workload, how: Delivery, last: int) -> None:
    """Case 34: the worker had no time to commit."""
    worker = Worker(workload.settings(), replace(how, crashes=False))
    arrived = arrivals(workload.records(), how)
    worker.run(arrived)
    before = worker.tables.copy()
    worker.restart()
    worker.run(arrived[-last:])
    assert worker.tables.events == before.events
    assert content(worker.tables) == content(before)


@examples(0.05)
@given(workload=workloads(), seed=seeds, size=st.sampled_from([2, 5]))
def test_5_size_of_batches_changes_nothing(workload: Workload, seed: int, size: int) -> None:
    one_by_one, *others = [
        tables_of(workload, Delivery(seed, largest_batch=largest)) for largest in (1, size, len(workload.messages))
    ]
    assert [content(other) for other in others] == [content(one_by_one)] * len(others)
    assert [other.written() for other in others] == [one_by_one.written()] * len(others)


@examples(0.1)
@given(workload=st.one_of(workloads(), busy_ids()), how=deliveries())
def test_14_user_at_write_time_is_the_models_on_the_prefix_of_the_key(workload: Workload, how: Delivery) -> None:
    how = replace(how, crashes=False)
    expected = model.stitched(arrivals(workload.records(), how), workload.settings())
    assert tables_of(workload, how).written() == expected


@examples(0.05)
@given(workload=st.one_of(workloads(), busy_ids()), one=seeds, other=seeds)
def test_14_table_of_owners_is_the_same_in_any_order(workload: Workload, one: int, other: int) -> None:
    """Of messages that came once: which of two receipts the table has learnt from does depend on order."""
    once = Workload(tuple({(m.project, m.id): m for m in workload.messages}.values()), workload.projects)
    owners = []
    for seed in (one, other):
        worker = Worker(once.settings(), Delivery(seed, again=0.3))
        worker.run(arrivals(once.records(), Delivery(seed, again=0.3)))
        owners.append(worker.owners)
    assert owners[0] == owners[1]
