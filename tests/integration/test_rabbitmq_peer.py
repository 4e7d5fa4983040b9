"""What RabbitMQ 3.10 cannot show: a scripted AMQP peer plays newer brokers and rare answers."""

from __future__ import annotations

import asyncio

import pytest
from pamqp import commands

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Lane
from mcai_worker_sdk.protocol.responses import Activity, JobResult, JobState, Progression, WorkerStatusReport
from tests.integration.conftest import INSTANCE, QUEUE, Driver
from tests.support.amqp_peer import AmqpPeer
from tests.support.rabbitmq import VirtualHost

DIRECT = f"direct_messaging_{INSTANCE}"


def at(peer):
    return VirtualHost(name="/", username="guest", password="guest", port=peer.port)


def declared(peer, name):
    return [frame for frame in peer.methods(commands.Queue.Declare) if frame.queue == name]


@pytest.mark.parametrize(("version", "exclusive"), [("3.10.8", False), ("4.2.5", False), ("4.3.0-rc.1", True)])
async def test_the_direct_queue_is_exclusive_where_the_server_asks_for_it(driver, version, exclusive):
    async with AmqpPeer(version=version) as peer, driver(at(peer)):
        (direct,) = declared(peer, DIRECT)

    assert (direct.durable, direct.auto_delete, direct.exclusive) == (False, True, exclusive)


@pytest.mark.parametrize(
    ("version", "server", "sent"),
    [
        ("4.2.5", "standalone", True),
        ("4.3.0", "standalone", False),
        ("4.3.5", "cluster", True),
    ],
)
async def test_the_acknowledgement_time_out_is_sent_only_where_the_server_takes_it(driver, version, server, sent):
    async with (
        AmqpPeer(version=version) as peer,
        driver(at(peer), consumer_timeout_ms=90000, server_configuration=server),
    ):
        (jobs,) = declared(peer, QUEUE)

    assert ("x-consumer-timeout" in jobs.arguments) is sent


async def test_nothing_is_declared_passively_and_prefetch_is_set_per_consumer(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        await one.exchange.consume_jobs()
        declarations = peer.methods(commands.Queue.Declare) + peer.methods(commands.Exchange.Declare)

        assert not any(frame.passive for frame in declarations)
        assert {(frame.prefetch_count, frame.global_) for frame in peer.methods(commands.Basic.Qos)} == {(1, False)}
        kinds = [type(frame) for frame in peer.received]
        assert kinds.index(commands.Basic.Qos) < kinds.index(commands.Basic.Consume)


async def test_a_server_that_denies_transient_queues_gets_an_exclusive_one(driver):
    async with AmqpPeer(version="4.2.5") as peer:
        denial = "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated."
        peer.rule_once(
            commands.Queue.Declare,
            lambda frame: frame.queue == DIRECT and not frame.exclusive,
            commands.Connection.Close(541, denial, 50, 10),
        )
        async with driver(at(peer)) as one:
            assert [frame.exclusive for frame in declared(peer, DIRECT)] == [False, True]
            assert one.events == []


async def test_a_direct_queue_still_held_for_the_dead_connection_does_not_keep_jobs_waiting(driver, monkeypatch):
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.exchange.LOCKED_DELAY_SECONDS", 0.01)
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        await one.exchange.consume_jobs()
        locked = commands.Channel.Close(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to {DIRECT}", 50, 10)
        for _ in range(3):
            peer.rule_once(commands.Queue.Declare, lambda frame: frame.queue == DIRECT, locked)
        peer.rule_once(
            commands.Basic.Publish, lambda _: True, commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0)
        )
        one.exchange.publish_progression(Progression(1, 1, INSTANCE))
        await one.event(ev.LinkRestored)
        await peer.deliver("amqp_worker", b"{}")
        assert (await one.delivery()).lane is Lane.JOBS
        await peer.wait_for(lambda: len(declared(peer, DIRECT)) == 5)
        await peer.wait_for(lambda: peer.methods(commands.Basic.Consume)[-1].consumer_tag == "status_amqp_worker")
        await peer.deliver("status_amqp_worker", b"{}")

        assert (await one.delivery(2)).lane is Lane.DIRECT


async def test_a_job_channel_closed_by_the_acknowledgement_time_out_leaves_the_others_alone(driver):
    async with AmqpPeer(version="4.2.5") as peer, driver(at(peer)) as one:
        await one.exchange.consume_jobs()
        await peer.deliver("amqp_worker", b"{}")
        first = await one.delivery()
        text = "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out. Timeout value used: 1800000 ms."
        await peer.close_consumer_channel("amqp_worker", 406, text)
        lost = await one.event(ev.LinkLost)
        await one.event(ev.LinkRestored)
        await one.exchange.settle(first)
        await peer.deliver("status_amqp_worker", b"{}")
        await one.exchange.settle(await one.delivery(2))
        await peer.wait_for(lambda: len(peer.methods(commands.Basic.Ack)) == 1)

        assert lost.reason == f"406 {text}"
        assert peer.connections == 1
        assert len(declared(peer, QUEUE)) == 2
        assert len(declared(peer, DIRECT)) == 1


async def test_a_cancelled_consumer_gives_its_order_back_and_consumes_again(driver):
    async with AmqpPeer() as peer, driver(at(peer), server_configuration="cluster") as one:
        await one.exchange.consume_jobs()
        await peer.deliver("amqp_worker", b"{}")
        first = await one.delivery()
        await peer.cancel("amqp_worker")
        await one.event(ev.LinkLost)
        await one.event(ev.LinkRestored)
        await one.exchange.settle(first)
        await peer.deliver("amqp_worker", b"{}", redelivered=True)

        assert (await one.delivery(2)).redelivered is True
        assert len(peer.methods(commands.Channel.Close)) == 1
        assert peer.methods(commands.Basic.Ack) == []


async def test_frames_never_exceed_what_the_server_takes(driver):
    async with AmqpPeer(frame_max=8192) as peer, driver(at(peer)) as one:
        await one.exchange.publish(JobResult(1, JobState.COMPLETED, destination_paths=["x" * 100_000]))

        assert 8000 < peer.largest_frame <= 8192
        assert len(peer.published[-1][2]) > 100_000


async def test_progressions_coalesce_while_the_connection_is_blocked(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        await peer.block("low on memory")
        # The answer to a request shows that the frame before it was read.
        await one.exchange.consume_jobs()
        for percent in (1, 2, 3):
            one.exchange.publish_progression(Progression(7, percent, INSTANCE))
        publishing = asyncio.create_task(one.exchange.publish(JobResult(7, JobState.COMPLETED)))
        await one.exchange.pause_jobs()
        assert len(peer.published) == 1
        await peer.unblock()
        await publishing

        assert [key for _, key, _ in peer.published] == ["worker_discovery", "job_progression", "job_completed"]
        assert b'"progression":3' in peer.published[1][2]


async def test_a_nacked_result_is_sent_again(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        peer.rule_once(
            commands.Basic.Publish, lambda frame: frame.routing_key == "job_completed", commands.Basic.Nack(2)
        )
        await one.exchange.publish(JobResult(7, JobState.COMPLETED))

        assert [key for _, key, _ in peer.published] == ["worker_discovery", "job_completed", "job_completed"]


async def test_a_confirmation_of_many_confirms_them_all(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        peer.rule(commands.Basic.Publish, lambda _: [commands.Basic.Ack(4, True)] if len(peer.published) == 4 else [])
        await asyncio.gather(*(one.exchange.publish(JobResult(n, JobState.COMPLETED)) for n in range(3)))

        assert len(peer.published) == 4


async def test_a_message_too_large_for_the_broker_is_an_error_and_harms_no_other(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        text = "PRECONDITION_FAILED - message size 200180 is larger than configured max size 100000"
        peer.rule_once(
            commands.Basic.Publish,
            lambda _: len(peer.published[-1][2]) > 100_000,
            commands.Channel.Close(406, text, 60, 40),
        )
        large = asyncio.create_task(
            one.exchange.publish(JobResult(1, JobState.COMPLETED, destination_paths=["x" * 200_000]))
        )
        small = asyncio.create_task(one.exchange.publish(JobResult(2, JobState.COMPLETED)))
        with pytest.raises(ExchangeError) as caught:
            await large
        await small

    assert str(caught.value) == (
        f"The message job_completed is {len(peer.published[1][2])} bytes; expected what the broker takes (406 {text}). "
        "Write large results to a file and return its path."
    )


async def test_an_exchange_deleted_meanwhile_is_declared_again_and_the_message_arrives(driver, identity):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        peer.rule_once(
            commands.Basic.Publish,
            lambda frame: frame.exchange == "worker_response",
            commands.Channel.Close(404, "NOT_FOUND - no exchange 'worker_response' in vhost '/'", 60, 40),
        )
        await one.exchange.publish(WorkerStatusReport(Activity.IDLE, identity, {}))

        assert [key for _, key, _ in peer.published] == ["worker_discovery", "worker_status", "worker_status"]
        assert one.events == []
        assert peer.connections == 1


async def test_a_job_queue_that_may_not_be_read_is_an_error_of_consuming(driver):
    async with AmqpPeer() as peer, driver(at(peer)) as one:
        refusal = commands.Channel.Close(403, f"ACCESS_REFUSED - read access to queue '{QUEUE}' refused", 60, 20)
        peer.rule_once(commands.Basic.Consume, lambda frame: frame.queue == QUEUE, refusal)
        with pytest.raises(ExchangeError) as caught:
            await one.exchange.consume_jobs()

    assert f"The job queue {QUEUE!r} of virtual host '/' cannot be consumed: 403 ACCESS_REFUSED" in str(caught.value)


async def test_a_server_that_answers_nothing_to_a_declaration_is_left(settings_for, identity, monkeypatch):
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.client.RPC_TIMEOUT_SECONDS", 0.1)
    async with AmqpPeer() as peer:
        peer.rule(commands.Queue.Declare, lambda frame: [] if frame.queue == QUEUE else None)
        one = Driver(settings_for(at(peer), connection_max_retry=1), identity)
        monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.connection.DELAY_STEP_SECONDS", 0.0)
        with pytest.raises(ExchangeError) as caught:
            await one.open()
        await one.exchange.close()

    assert "did not answer within" in str(caught.value)
