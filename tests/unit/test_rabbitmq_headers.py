"""What is read from a message's headers, and from a server's version: whatever is in them, nothing breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.exchange.rabbitmq.consumers import count_attempts, count_soft_rejects
from mcai_worker_sdk.exchange.rabbitmq.topology import server_version

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["queue", "reason", "count"]), inner),
)


def death(queue, reason, count):
    return {"queue": queue, "reason": reason, "count": count, "exchange": "job_submit", "routing-keys": [queue]}


def test_attempts_are_counted_by_queue_and_reason_not_by_position():
    deaths = [death("job_delayed", "expired", 9), death("job_test", "expired", 7), death("job_test", "rejected", 3)]

    assert count_attempts({"x-death": deaths}, "job_test") == 3


def test_attempts_of_a_quorum_queue_are_added():
    headers = {"x-death": [death("job_test", "rejected", 2)], "x-delivery-count": 5}

    assert count_attempts(headers, "job_test") == 7


def test_an_order_that_met_the_delivery_limit_counts_as_failed():
    assert count_attempts({"x-death": [death("job_test", "delivery_limit", 20)]}, "job_test") == 20


def test_soft_rejects_are_read_from_the_first_table():
    assert count_soft_rejects({"soft_reject": [{"count": 4}]}) == 4


@given(ANYTHING, ANYTHING, ANYTHING)
def test_malformed_headers_count_nothing_and_break_nothing(deaths, delivery_count, soft_reject):
    headers = {"x-death": deaths, "x-delivery-count": delivery_count, "soft_reject": soft_reject}

    assert count_attempts(headers, "job_test") >= 0
    assert count_soft_rejects(headers) >= 0


@pytest.mark.parametrize("count", ["3", None, True, -1, 2.5, b"3"])
def test_a_count_that_is_no_whole_number_counts_nothing(count):
    assert count_attempts({"x-death": [death("job_test", "rejected", count)]}, "job_test") == 0
    assert count_soft_rejects({"soft_reject": [{"count": count}]}) == 0


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
