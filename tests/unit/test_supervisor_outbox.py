"""The outbox: what follows from a job's end waits for its confirmation, everything else does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.protocol.delivery import Delivery, Lane, Settlement
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

    async def delay(self, delivery: Delivery) -> None:
        self.done.append(("delay", delivery))

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        self.done.append((settlement, delivery))

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
    await outbox.settle(JOBS, Settlement.ACK)
    await outbox.consume_jobs()
    assert (exchange.done, outbox.is_empty) == ([], False)
    exchange.confirming.set()
    await outbox.emptied()

    assert exchange.done == [DONE, (Settlement.ACK, JOBS), "consume"]
    assert outbox.is_empty


async def test_without_a_waiting_result_everything_happens_in_the_call(outbox: Outbox, exchange: HeldExchange):
    await outbox.settle(JOBS, Settlement.REQUEUE)
    await outbox.consume_jobs()

    assert exchange.done == [(Settlement.REQUEUE, JOBS), "consume"]


async def test_direct_messages_and_pauses_do_not_wait_for_a_result(outbox: Outbox, exchange: HeldExchange):
    await outbox.publish(UnknownJobError("no order"))
    await outbox.settle(DIRECT, Settlement.ACK)
    await outbox.consume_jobs()
    await outbox.pause_jobs()
    assert exchange.done == [(Settlement.ACK, DIRECT), "pause"]
    exchange.confirming.set()
    await outbox.emptied()

    # Consuming was asked for before the pause: it must not come after it.
    assert exchange.done == [(Settlement.ACK, DIRECT), "pause", UnknownJobError("no order")]


async def test_a_delay_and_its_settlement_keep_their_order(outbox: Outbox, exchange: HeldExchange):
    await outbox.delay(JOBS)
    await outbox.settle(JOBS, Settlement.ACK)
    await outbox.emptied()

    assert exchange.done == [("delay", JOBS), (Settlement.ACK, JOBS)]


async def test_an_answer_that_is_not_confirmed_holds_nothing_up(
    outbox: Outbox, exchange: HeldExchange, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox_module, "PATIENCE_SECONDS", 0.01)
    answer = WorkerAnnouncement("worker_created", {"name": "w"})
    await outbox.publish(answer)
    await outbox.settle(JOBS, Settlement.ACK)
    assert exchange.done == [(Settlement.ACK, JOBS)]
    exchange.confirming.set()
    await eventually(lambda: answer in exchange.done, bool)

    assert outbox.is_empty


async def test_a_result_the_broker_finds_too_large_is_replaced_by_an_error(outbox: Outbox, exchange: HeldExchange):
    exchange.fault = [ExchangeError("The message job_completed is too large.")]
    exchange.confirming.set()
    await outbox.publish(DONE)
    await outbox.settle(JOBS, Settlement.ACK)
    await outbox.emptied()

    error, settled = exchange.done
    assert (error.job_id, error.state, error.message) == (1, JobState.ERROR, "The message job_completed is too large.")
    assert error.execution_duration_seconds == 3.0
    assert settled == (Settlement.ACK, JOBS)


async def test_nothing_is_settled_after_a_result_that_a_closed_exchange_did_not_take(
    outbox: Outbox, exchange: HeldExchange, failures: list[BaseException], caplog: pytest.LogCaptureFixture
):
    exchange.fault = [ExchangeError("closed"), ExchangeError("closed")]
    await outbox.publish(DONE)
    await outbox.settle(JOBS, Settlement.ACK)
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
