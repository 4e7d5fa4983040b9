"""What the RabbitMQ exchange does when links, channels, queues and brokers go and come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error

import pytest
from pamqp import commands

from mcai_worker_sdk.exchange.base import ExchangeFailed
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Lane
from mcai_worker_sdk.protocol.responses import JobResult, JobState, Progression
from tests.integration.conftest import INSTANCE, QUEUE, job_id_of, order
from tests.support.amqp_peer import AmqpPeer
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import VirtualHost, eventually
from tests.support.tap import TAP_QUEUE, Tap

SERVERS = pytest.mark.parametrize("server", ["standalone", "cluster"])


def refused_if(locked):
    """Of an exclusive queue the broker lets nobody but its own connection remove anything."""
    return pytest.raises(urllib.error.HTTPError, match="400") if locked else contextlib.nullcontext()


def kinds(driver):
    return [type(event).__name__ for event in driver.events]


async def with_an_order(tap, one, job_id=1):
    await one.exchange.consume_jobs()
    await tap.submit(QUEUE, order(job_id))
    return await one.delivery()


async def works_again(tap, one, job_id=99):
    """An order and a status message get through, and the order is settled for good."""
    await tap.submit(QUEUE, order(job_id))
    await one.until(lambda: any(d.lane is Lane.JOBS and job_id_of(d) == job_id for d in one.deliveries))
    await tap.direct({"type": "status"})
    await one.until(lambda: one.deliveries[-1].lane is Lane.DIRECT)
    await one.exchange.publish(JobResult(job_id, JobState.COMPLETED))


async def test_a_closed_connection_is_opened_again_and_the_order_comes_back(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        first = await with_an_order(tap, one)
        name = f"my_worker/{INSTANCE}"

        def ours():
            connections = rabbitmq_node.api.connections(vhost.name)
            return [c["name"] for c in connections if c.get("user_provided_name") == name]

        rabbitmq_node.api.close_connection((await eventually(ours, bool))[0])
        lost = await one.event(ev.LinkLost)
        again = await one.delivery(2)

        assert "CONNECTION_FORCED" in lost.reason
        assert kinds(one) == ["OrderReceived", "LinkLost", "LinkRestored", "OrderReceived"]
        assert (job_id_of(again), again.redelivered) == (1, True)
        await one.exchange.settle(first)  # a tag of the dead channel: dropped
        await one.exchange.settle(again)
        await works_again(tap, one)
        assert one.announcements == 2


async def test_a_result_whose_link_is_cut_is_confirmed_on_the_next_link(vhost, driver):
    async with Tap(vhost) as tap, TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.cut()
        await one.event(ev.LinkLost)
        one.exchange.publish_progression(Progression(7, 50, INSTANCE))
        one.exchange.publish_progression(Progression(7, 100, INSTANCE))
        publishing = asyncio.create_task(one.exchange.publish(JobResult(7, JobState.COMPLETED)))
        await asyncio.wait({publishing}, timeout=0.5)
        assert not publishing.done()
        proxy.resume()
        await publishing

        assert [m["routing_key"] for m in tap.out() if m["body"].get("job_id") == 7] == [
            "job_progression",
            "job_completed",
        ]
        assert tap.out("job_progression")[0]["body"]["progression"] == 100


async def test_results_on_their_way_are_published_when_the_link_comes_back(vhost, driver):
    async with Tap(vhost) as tap, TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.freeze()
        publishing = [asyncio.create_task(one.exchange.publish(JobResult(n, JobState.COMPLETED))) for n in range(5)]
        await asyncio.wait(publishing, timeout=0.3)
        proxy.cut()
        await one.event(ev.LinkLost)
        proxy.resume()
        await asyncio.gather(*publishing)

        published = [message["body"]["job_id"] for message in tap.out("job_completed")]
        assert list(dict.fromkeys(published)) == [0, 1, 2, 3, 4]


async def test_a_half_open_link_is_noticed_within_two_heartbeats(vhost, driver):
    async with (
        Tap(vhost) as tap,
        TcpProxy(vhost.port) as proxy,
        driver(vhost, port=proxy.port, heartbeat_seconds=2) as one,
    ):
        await with_an_order(tap, one)
        loop = asyncio.get_running_loop()
        proxy.freeze()
        frozen = loop.time()
        lost = await one.event(ev.LinkLost)

        assert "silent" in lost.reason
        assert loop.time() - frozen <= 4.0
        proxy.cut_once()
        proxy.resume()
        await one.event(ev.LinkRestored)
        await one.exchange.settle(await one.delivery(2))
        await works_again(tap, one)


async def test_an_idle_link_stays_up_on_heartbeats_alone(vhost, driver):
    async with driver(vhost, heartbeat_seconds=1) as one:
        await asyncio.sleep(4.0)

        assert one.events == []


async def test_closing_a_half_open_link_is_quick(vhost, driver):
    async with TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.freeze()
        async with asyncio.timeout(3.0):
            await one.exchange.close()


async def test_closing_while_the_broker_is_away_is_quick(vhost, driver):
    async with TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.cut()
        await one.event(ev.LinkLost)
        async with asyncio.timeout(3.0):
            await one.exchange.close()


async def test_a_restarted_broker_gets_the_result_and_gives_the_order_again(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        first = await with_an_order(tap, one)
        await asyncio.to_thread(rabbitmq_node.stop)
        await one.event(ev.LinkLost)
        publishing = asyncio.create_task(one.exchange.publish(JobResult(1, JobState.COMPLETED)))
        await asyncio.to_thread(rabbitmq_node.start)
        await publishing
        again = await one.delivery(2)

        assert (job_id_of(again), again.redelivered) == (1, True)
        await one.exchange.settle(first)
        await one.exchange.settle(again)
        await tap.wait_for("job_completed")
        assert len(tap.out("job_completed")) == 1
        await works_again(tap, one)


async def test_a_confirmed_result_survives_a_killed_broker(rabbitmq_node, vhost, driver):
    rabbitmq_node.api.declare_queue(vhost.name, "job_completed", arguments={"x-queue-type": "classic"})
    async with driver(vhost) as one:
        path = f"/bindings/{vhost.name}/e/job_response/q/job_completed"
        rabbitmq_node.api.request("POST", path, {"routing_key": "job_completed"})
        await one.exchange.publish(JobResult(1, JobState.COMPLETED))
        await asyncio.to_thread(rabbitmq_node.kill)
        await asyncio.to_thread(rabbitmq_node.start)
        await one.event(ev.LinkRestored)

        messages = rabbitmq_node.api.get(vhost.name, "job_completed")
        assert [json.loads(message["payload"])["job_id"] for message in messages] == [1]


async def test_a_deleted_job_queue_is_declared_again_and_consumed(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await with_an_order(tap, one)
        rabbitmq_node.api.delete_queue(vhost.name, QUEUE)
        lost = await one.event(ev.LinkLost)
        await one.event(ev.LinkRestored)

        assert lost.reason == f"The broker cancelled the consumer of the queue {QUEUE!r}."
        assert one.announcements == 1
        await works_again(tap, one)


@SERVERS
async def test_a_deleted_direct_queue_is_declared_again_without_touching_the_job(rabbitmq_node, vhost, driver, server):
    async with Tap(vhost) as tap, driver(vhost, server_configuration=server) as one:
        first = await with_an_order(tap, one)
        direct = f"direct_messaging_{INSTANCE}"
        with refused_if(server == "standalone" and rabbitmq_node.is_strict):
            rabbitmq_node.api.delete_queue(vhost.name, direct)
        await eventually(
            lambda: [c for c in rabbitmq_node.api.consumers(vhost.name) if c["queue"]["name"] == direct], bool
        )
        await one.exchange.settle(first)

        assert kinds(one) == ["OrderReceived"]
        await works_again(tap, one)


async def test_a_job_queue_declared_anew_with_other_arguments_ends_the_exchange(rabbitmq_node, vhost, driver):
    async with TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.cut()
        await one.event(ev.LinkLost)
        rabbitmq_node.api.delete_queue(vhost.name, QUEUE)
        rabbitmq_node.api.declare_queue(vhost.name, QUEUE, arguments={"x-max-priority": 5})
        proxy.resume()
        failed = await one.event(ExchangeFailed)

        assert f"The queue {QUEUE!r} of virtual host {vhost.name!r} exists with other arguments" in str(failed.error)


@SERVERS
async def test_an_acknowledgement_time_out_costs_the_job_channel_only(rabbitmq_node, vhost, driver, server):
    if server == "standalone" and rabbitmq_node.is_strict:
        pytest.skip("The classic queues of this broker know no acknowledgement time-out.")
    await asyncio.to_thread(rabbitmq_node.set_consumer_timeout, 1000)
    try:
        async with Tap(vhost) as tap, driver(vhost, server_configuration=server) as one:
            first = await with_an_order(tap, one)
            lost = await one.event(ev.LinkLost)
            again = await one.delivery(2)

            # From 4.3 on the queue itself takes its order back, and cancels the consumer.
            cancelled, closed = (
                "The broker cancelled the consumer",
                "406 PRECONDITION_FAILED - delivery acknowledgement on",
            )
            assert (cancelled if rabbitmq_node.is_strict else closed) in lost.reason
            assert kinds(one)[:4] == ["OrderReceived", "LinkLost", "LinkRestored", "OrderReceived"]
            assert (job_id_of(again), again.redelivered) == (1, True)
            assert one.announcements == 1
            await one.exchange.settle(first)
            await one.exchange.settle(again)
            await works_again(tap, one)
            await one.exchange.settle(one.deliveries[-2])
    finally:
        await asyncio.to_thread(rabbitmq_node.set_consumer_timeout, 1_800_000)


async def test_pausing_is_remembered_over_a_reconnection(vhost, driver):
    async with Tap(vhost) as tap, TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        await one.exchange.consume_jobs()
        await one.exchange.pause_jobs()
        proxy.cut_once()
        await one.event(ev.LinkRestored)
        await tap.submit(QUEUE, order(1))
        await tap.direct({"type": "status"})
        await one.delivery()

        assert [event.delivery.lane for event in one.events if isinstance(event, ev.OrderReceived)] == [Lane.DIRECT]


async def test_consuming_asked_for_while_the_link_is_down_begins_with_the_next_link(vhost, driver):
    async with Tap(vhost) as tap, TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.cut()
        await one.event(ev.LinkLost)
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        proxy.resume()

        assert job_id_of(await one.delivery()) == 1
        assert kinds(one) == ["LinkLost", "LinkRestored", "OrderReceived"]


async def test_a_blocked_connection_holds_results_back_and_delivers_them_later(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await asyncio.to_thread(rabbitmq_node.raise_memory_alarm)
        try:
            publishing = [asyncio.create_task(one.exchange.publish(JobResult(n, JobState.COMPLETED))) for n in (1, 2)]
            await asyncio.wait(publishing, timeout=1.0)
            assert not any(task.done() for task in publishing)
        finally:
            await asyncio.to_thread(rabbitmq_node.clear_memory_alarm)
        await asyncio.gather(*publishing)

        assert one.events == []
        assert [m["body"]["job_id"] for m in await tap.wait_for("job_completed", count=2)] == [1, 2]


async def test_a_publish_that_is_cancelled_leaves_the_next_one_whole(vhost, driver):
    async with Tap(vhost) as tap, TcpProxy(vhost.port) as proxy, driver(vhost, port=proxy.port) as one:
        proxy.cut()
        await one.event(ev.LinkLost)
        given_up = asyncio.create_task(one.exchange.publish(JobResult(1, JobState.COMPLETED)))
        kept = asyncio.create_task(one.exchange.publish(JobResult(2, JobState.COMPLETED)))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        proxy.resume()
        await kept

        assert [message["body"]["job_id"] for message in await tap.wait_for("job_completed")] == [2]


def everything(node, vhost):
    """What is declared in a virtual host, but for the tap's own."""
    bindings = [one for one in node.api.bindings(vhost.name) if one["destination"] != TAP_QUEUE]
    return {
        "exchanges": {one["name"] for one in node.api.exchanges(vhost.name)},
        "queues": {one["name"] for one in node.api.queues(vhost.name)} - {TAP_QUEUE},
        "bindings": {(one["source"], one["destination"], one["routing_key"]) for one in bindings},
    }


DIRECT_QUEUE = f"direct_messaging_{INSTANCE}"
REMOVALS = {
    "binding of the job queue": lambda api, vhost: api.unbind(vhost, "job_submit", QUEUE),
    "binding of the direct queue": lambda api, vhost: api.unbind(vhost, "direct_messaging", DIRECT_QUEUE),
    "binding of the delay queue": lambda api, vhost: api.unbind(vhost, "job_delayed", "job_delayed"),
    "exchange of orders": lambda api, vhost: api.delete_exchange(vhost, "job_submit"),
    "exchange of direct messages": lambda api, vhost: api.delete_exchange(vhost, "direct_messaging"),
    "exchange of results": lambda api, vhost: api.delete_exchange(vhost, "job_response"),
    "delay queue": lambda api, vhost: api.delete_queue(vhost, "job_delayed"),
    "queue of discoveries": lambda api, vhost: api.delete_queue(vhost, "worker_discovery"),
    "job queue": lambda api, vhost: api.delete_queue(vhost, QUEUE),
}


@SERVERS
@pytest.mark.parametrize("removal", REMOVALS)
async def test_what_is_removed_without_a_word_is_declared_again(
    monkeypatch, rabbitmq_node, vhost, driver, removal, server
):
    """The worker does not consume: of the job queue it would be told."""
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.exchange.REDECLARE_SECONDS", 0.2)
    async with driver(vhost, server_configuration=server) as one:
        declared = everything(rabbitmq_node, vhost)
        locked = removal == "binding of the direct queue" and server == "standalone" and rabbitmq_node.is_strict
        with refused_if(locked):
            REMOVALS[removal](rabbitmq_node.api, vhost.name)
        await eventually(lambda: everything(rabbitmq_node, vhost), lambda now: now == declared)

        assert len(declared["bindings"]) == 3
        assert one.events == []


async def test_nothing_is_declared_while_the_broker_takes_nothing(monkeypatch, driver):
    """It answers no request then, and a link that is given up for that would cost a running job its order."""
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.exchange.REDECLARE_SECONDS", 0.0)
    async with AmqpPeer() as peer:
        host = VirtualHost(name="/", username="guest", password="guest", port=peer.port)
        async with driver(host) as one:
            await peer.wait_for(lambda: len(peer.methods(commands.Queue.Declare)) > 20)
            await peer.block("low on memory")
            for _ in range(20):  # The round that was under way ends meanwhile.
                await one.exchange.consume_jobs()
                await one.exchange.pause_jobs()
            before = len(peer.methods(commands.Queue.Declare))
            for _ in range(20):
                await one.exchange.consume_jobs()
                await one.exchange.pause_jobs()
            assert len(peer.methods(commands.Queue.Declare)) == before
            await peer.unblock()
            await peer.wait_for(lambda: len(peer.methods(commands.Queue.Declare)) > before + 20)
