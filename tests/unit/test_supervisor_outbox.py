"""The outbox: what follows from a job's end waits for its confirmation, everything else does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import MessageRefusedError
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobResult, JobState, UnknownJobError, WorkerAnnouncement
from mcai_worker_sdk.supervisor import outbox as outbox_module
from mcai_worker_sdk.supervisor.outbox import Outbox
from tests.support.rabbitmq import eventually

DONE = JobResult(1, JobState.COMPLETED, ("/a",), execution_duration_seconds=3.0)
JOBS = Delivery(b"{}")
DIRECT = Delivery(b"{}", lane=Lane.DIRECT)


class HeldExchange:
    """Notes what is asked of it; confirms publications when the test says so."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.confirming = asyncio.Event()
        self.fault: list[Exception] = []

    async def publish(self, response: Any) -> None:
        await self.confirming.wait()
        if self.fault:
            raise self.fault.pop(0)
        self.done.append(response)

    def publish_progression(self, response: Any) -> None:
        self.done.append(response)

    async def delay(self, delivery: Delivery, count: Count) -> None:
        if self.fault:
            raise self.fault.pop(0)
        self.done.append((count, delivery))

    async def settle(self, delivery: Delivery) -> None:
        self.done.append(("settled", delivery))

    async def consume_jobs(self) -> None:
        self.done.append("consume")

    async def pause_jobs(self) -> None:
        self.done.append("pause")


@pytest.fixture
def failures() -> list[BaseException]:
    return []


@pytest.fixture
async def exchange() -> HeldExchange:
    return HeldExchange()


@pytest.fixture
async def outbox(exchange: HeldExchange, failures: list[BaseException]) -> Outbox:
    return Outbox(exchange, failures.append)  # type: ignore[arg-type]


async def test_an_order_is_settled_after_its_result_was_confirmed(outbox: Outbox, exchange: HeldExchange):
    await outbox.publish(DONE)
    await outbox.settle(JOBS)
    await outbox.consume_jobs()
    assert (exchange.done, outbox.is_empty) == ([], False)
    exchange.confirming.set()
    await outbox.emptied()

    assert exchange.done == [DONE, ("settled", JOBS), "consume"]
    assert outbox.is_empty


async def test_without_a_waiting_result_everything_happens_in_the_call(outbox: Outbox, exchange: HeldExchange):
    await outbox.settle(JOBS)
    await outbox.consume_jobs()

    assert exchange.done == [("settled", JOBS), "consume"]


async def test_direct_messages_and_pauses_do_not_wait_for_a_result(outbox: Outbox, exchange: HeldExchange):
    await outbox.publish(UnknownJobError("no order"))
    await outbox.settle(DIRECT)
    await outbox.consume_jobs()
    await outbox.pause_jobs()
    assert exchange.done == [("settled", DIRECT), "pause"]
    exchange.confirming.set()
    await outbox.emptied()

    # Consuming was asked for before the pause: it must not come after it.
    assert exchange.done == [("settled", DIRECT), "pause", UnknownJobError("no order")]


async def test_a_delay_and_its_settlement_keep_their_order(outbox: Outbox, exchange: HeldExchange):
    await outbox.delay(JOBS, 1, Count.PUT_BACKS)
    await outbox.settle(JOBS)
    await outbox.emptied()

    assert exchange.done == [(Count.PUT_BACKS, JOBS), ("settled", JOBS)]


async def test_an_answer_that_is_not_confirmed_holds_nothing_up(
    outbox: Outbox, exchange: HeldExchange, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox_module, "PATIENCE_SECONDS", 0.01)
    answer = WorkerAnnouncement("worker_created", {"name": "w"})
    await outbox.publish(answer)
    await outbox.settle(JOBS)
    assert exchange.done == [("settled", JOBS)]
    exchange.confirming.set()
    await eventually(lambda: answer in exchange.done, bool)

    assert outbox.is_empty


async def test_a_result_the_broker_finds_too_large_is_replaced_by_an_error(outbox: Outbox, exchange: HeldExchange):
    exchange.fault = [MessageRefusedError("The message job_completed is too large.")]
    exchange.confirming.set()
    await outbox.publish(DONE)
    await outbox.settle(JOBS)
    await outbox.emptied()

    error, settled = exchange.done
    assert (error.job_id, error.state, error.message) == (1, JobState.ERROR, "The message job_completed is too large.")
    assert error.execution_duration_seconds == 3.0
    assert settled == ("settled", JOBS)


@pytest.mark.parametrize("end", [DONE, UnknownJobError("no order")], ids=["result", "no order"])
async def test_an_order_is_settled_whatever_the_broker_refuses_of_its_end(
    outbox: Outbox, exchange: HeldExchange, failures: list[BaseException], end: JobResult | UnknownJobError
):
    exchange.fault = [MessageRefusedError("too large"), MessageRefusedError("still too large")]
    exchange.confirming.set()
    await outbox.publish(end)
    await outbox.settle(JOBS)
    await outbox.emptied()

    shortest, settled = exchange.done
    assert (shortest.message, settled, failures) == ("The broker refused the job's result.", ("settled", JOBS), [])


async def test_an_order_is_settled_when_the_broker_takes_not_a_word(
    outbox: Outbox, exchange: HeldExchange, failures: list[BaseException], caplog: pytest.LogCaptureFixture
):
    exchange.fault = [MessageRefusedError(f"too large {number}") for number in (1, 2, 3)]
    exchange.confirming.set()
    await outbox.publish(DONE)
    await outbox.settle(JOBS)
    await outbox.consume_jobs()
    await outbox.emptied()

    assert (exchange.done, failures) == ([("settled", JOBS), "consume"], [])
    assert [f"too large {number}" in caplog.text for number in (1, 2, 3)] == [True] * 3


async def test_an_order_whose_copy_is_refused_ends_its_job_and_is_settled(outbox: Outbox, exchange: HeldExchange):
    exchange.fault = [MessageRefusedError("The message job_test is 9 bytes; expected 8.")]
    exchange.confirming.set()
    await outbox.delay(JOBS, 7, Count.SOFT_REJECTS)
    await outbox.settle(JOBS)
    await outbox.emptied()

    error, settled = exchange.done
    assert (error.job_id, error.state) == (7, JobState.ERROR)
    assert error.message == (
        "The order cannot go through the delay queue. The message job_test is 9 bytes; expected 8."
    )
    assert settled == ("settled", JOBS)


async def test_an_answer_that_is_refused_costs_nothing_but_itself(
    outbox: Outbox, exchange: HeldExchange, failures: list[BaseException], caplog: pytest.LogCaptureFixture
):
    exchange.fault = [MessageRefusedError("The message worker_black_list is too large.")]
    exchange.confirming.set()
    await outbox.publish(WorkerAnnouncement("worker_created", {}))
    await outbox.settle(DIRECT)

    assert (exchange.done, failures) == ([("settled", DIRECT)], [])
    assert "An answer is not published: The message worker_black_list is too large." in caplog.text


async def test_nothing_is_settled_after_a_result_that_a_closed_exchange_did_not_take(
    outbox: Outbox, exchange: HeldExchange, failures: list[BaseException], caplog: pytest.LogCaptureFixture
):
    exchange.fault = [ExchangeError("closed"), ExchangeError("closed")]
    await outbox.publish(DONE)
    await outbox.settle(JOBS)
    exchange.confirming.set()
    await eventually(lambda: outbox.is_empty, bool)

    assert (exchange.done, failures) == ([], [])
    assert "A job's end is not published: closed" in caplog.text


async def test_what_comes_in_the_instant_the_outbox_is_empty_is_not_forgotten(outbox: Outbox, exchange: HeldExchange):
    exchange.confirming.set()
    await outbox.publish(DONE)
    # Exactly one turn of the loop: the first is published, and nobody was told yet.
    await asyncio.sleep(0)
    await outbox.publish(UnknownJobError("no order"))
    await eventually(lambda: len(exchange.done), lambda count: count == 2, timeout_seconds=2)

    assert exchange.done == [DONE, UnknownJobError("no order")]


async def test_a_fault_of_the_sdk_is_told(outbox: Outbox, exchange: HeldExchange, failures: list[BaseException]):
    exchange.fault = [ValueError("a fault")]
    exchange.confirming.set()
    await outbox.publish(DONE)
    await eventually(lambda: failures, bool)

    assert str(failures[0]) == "a fault"


async def test_what_the_broker_refuses_after_the_wait_was_given_up_is_heard(
    exchange: HeldExchange, outbox: Outbox, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    exchange.fault.append(ExchangeError("The exchange is closed."))
    waiting = asyncio.create_task(outbox.publish(WorkerAnnouncement("worker_created", {})))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    exchange.confirming.set()

    await eventually(lambda: caplog.messages, bool)
    assert caplog.messages == ["The broker did not take everything: The exchange is closed."]
