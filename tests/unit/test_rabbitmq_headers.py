"""What is read from a message's headers, and from a server's version: whatever is in them, nothing breaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcai_worker_sdk.exchange.rabbitmq.adapter import server_version
from mcai_worker_sdk.exchange.rabbitmq.counts import Counts, copied_headers, read_counts
from mcai_worker_sdk.exchange.rabbitmq.fields import FieldTable
from mcai_worker_sdk.protocol.delivery import Count, Delivery

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["queue", "reason", "count"]), inner),
)


def death(queue, reason, count):
    return {"queue": queue, "reason": reason, "count": count, "exchange": "job_submit", "routing-keys": [queue]}


def own(**counts):
    return {"x-mcai-order": counts}


def test_attempts_are_counted_by_queue_and_reason_not_by_position():
    deaths = [death("job_delayed", "expired", 9), death("job_test", "expired", 7), death("job_test", "rejected", 3)]

    assert read_counts({"x-death": deaths}, "job_test").attempts == 3


def test_attempts_of_workers_of_the_reference_are_added_to_those_of_ours():
    headers = {"x-death": [death("job_test", "rejected", 2)], **own(attempts=5, put_backs=1)}

    assert read_counts(headers, "job_test") == Counts(attempts=7, put_backs=1)


def test_what_a_quorum_queue_took_back_is_no_attempt_by_itself():
    """It comes redelivered, which counts; and what was put back in good order it counts as well."""
    assert read_counts({"x-delivery-count": 5}, "job_test") == Counts(returns=5)


@pytest.mark.parametrize(
    ("headers", "given_back"),
    [
        ({"x-acquired-count": 2}, True),
        ({"x-acquired-count": 2, "x-delivery-count": 1}, False),
        ({"x-delivery-count": 1}, False),
        ({"x-acquired-count": 0}, False),
    ],
)
def test_an_order_that_was_acquired_and_not_lost_was_given_back(headers, given_back):
    assert read_counts(headers, "job_test").given_back is given_back


def test_an_order_that_met_the_delivery_limit_counts_as_failed():
    assert read_counts({"x-death": [death("job_test", "delivery_limit", 20)]}, "job_test").attempts == 20


def test_soft_rejects_are_read_from_the_first_table():
    assert read_counts({"soft_reject": [{"count": 4}]}, "job_test").soft_rejects == 4


@settings(deadline=None)
@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_malformed_headers_count_nothing_and_break_nothing(deaths, delivery_count, soft_reject, order):
    headers = {"x-death": deaths, "x-delivery-count": delivery_count, "soft_reject": soft_reject, "x-mcai-order": order}
    counts = read_counts(headers, "job_test")

    assert min(counts.attempts, counts.soft_rejects, counts.put_backs, counts.returns) >= 0


@pytest.mark.parametrize("count", ["3", None, True, -1, 2.5, b"3", [1], {"count": 1}])
def test_a_count_that_is_no_whole_number_counts_nothing(count):
    headers = {"x-death": [death("job_test", "rejected", count)], "soft_reject": [{"count": count}]}

    assert read_counts({**headers, **own(attempts=count, put_backs=count)}, "job_test") == Counts()


@pytest.mark.parametrize("reason", [[], {}, ["rejected"], None])
def test_a_death_for_no_reason_counts_nothing(reason):
    assert read_counts({"x-death": [death("job_test", reason, 3)]}, "job_test") == Counts()


@pytest.mark.parametrize("count", Count)
@pytest.mark.parametrize("number", [0, 3, 2**63 - 1])
def test_a_copy_counts_one_more_of_one_and_can_always_be_written(count, number):
    written = {"soft_reject": [{"count": number}], **own(attempts=number, put_backs=number)}
    before = read_counts(written, "job_test")
    delivery = Delivery(b"", attempts=before.attempts, soft_rejects=before.soft_rejects, put_backs=before.put_backs)
    copy = FieldTable(FieldTable().changed(copied_headers(delivery, count)))

    after = read_counts(copy, "job_test")
    raised = {one.value: getattr(after, one.value) - getattr(before, one.value) for one in Count}
    assert raised == {one.value: int(one is count and number < 2**31) for one in Count}


def test_a_copy_has_nothing_of_what_the_broker_said_of_the_order():
    headers = {"x-death": [death("job_test", "rejected", 2)], "x-delivery-count": 1, "x-acquired-count": 1, "kept": 1}
    came = FieldTable(FieldTable().changed(headers))
    delivery = Delivery(b"", attempts=read_counts(came, "job_test").attempts)

    copy = FieldTable(came.changed(copied_headers(delivery, Count.PUT_BACKS)))
    assert dict(copy) == {"kept": 1, **own(attempts=2, put_backs=1)}


@pytest.mark.parametrize(
    ("properties", "version"),
    [
        ({"version": "3.10.8"}, (3, 10, 8)),
        ({"version": "4.3.0-rc.1"}, (4, 3, 0)),
        ({"version": "4.10"}, (4, 10)),
        ({"version": "unknown"}, (0,)),
        ({}, (0,)),
    ],
)
def test_the_server_version_is_read_as_numbers(properties, version):
    assert server_version(properties) == version
