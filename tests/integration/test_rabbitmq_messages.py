"""What one RabbitMQ exchange declares, publishes, takes and settles on a broker that does not fail."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import MessageRefusedError
from mcai_worker_sdk.exchange.rabbitmq.client import CONTENT_HEADER_BYTES
from mcai_worker_sdk.exchange.rabbitmq.fields import MessageProperties
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Count, Lane
from mcai_worker_sdk.protocol.responses import Activity, JobResult, JobState, Progression, WorkerStatusReport
from tests.integration.conftest import INSTANCE, QUEUE, job_id_of, order
from tests.support.rabbitmq import eventually
from tests.support.tap import Tap
from tests.unit.test_rabbitmq_fields import FIELDS, entry, sized, with_headers

CLASSIC = {"x-queue-type": "classic"}
QUORUM = {"x-queue-type": "quorum"}
EXCHANGES = {
    "job_submit": ("topic", {"alternate-exchange": "job_queue_not_found"}),
    "job_response": ("topic", {"alternate-exchange": "job_response_not_found"}),
    "worker_response": ("topic", {"alternate-exchange": "worker_response_not_found"}),
    "job_delayed": ("fanout", {}),
    "direct_messaging": ("headers", {"alternate-exchange": "direct_messaging_not_found"}),
}


def shared_queues(kind):
    return {
        "job_delayed": {"x-message-ttl": 5000, "x-dead-letter-exchange": "", **kind},
        "worker_response_not_found": kind,
        "worker_discovery": {
            "x-dead-letter-exchange": "job_response_delayed",
            "x-dead-letter-routing-key": "worker_discovery",
            **kind,
        },
    }


def queues_of(node, vhost):
    return {queue["name"]: queue for queue in node.api.queues(vhost.name)}


async def test_a_standalone_worker_declares_the_recorded_topology(rabbitmq_node, vhost, driver):
    async with driver(vhost):
        exchanges = {one["name"]: (one["type"], one["arguments"]) for one in rabbitmq_node.api.exchanges(vhost.name)}
        queues = queues_of(rabbitmq_node, vhost)
        direct = queues[f"direct_messaging_{INSTANCE}"]

        assert exchanges == EXCHANGES
        assert {name: queue["arguments"] for name, queue in queues.items()} == {
            **shared_queues(CLASSIC),
            QUEUE: {
                "x-dead-letter-exchange": "job_delayed",
                "x-dead-letter-routing-key": QUEUE,
                "x-max-priority": 100,
                **CLASSIC,
            },
            f"direct_messaging_{INSTANCE}": CLASSIC,
        }
        assert (direct["durable"], direct["auto_delete"], direct["exclusive"]) == (
            False,
            True,
            rabbitmq_node.is_strict,
        )
        assert all(queue["durable"] for name, queue in queues.items() if queue is not direct)


async def test_a_cluster_worker_declares_quorum_queues_and_takes_its_direct_queue_with_it(rabbitmq_node, vhost, driver):
    async with driver(vhost, server_configuration="cluster"):
        queues = queues_of(rabbitmq_node, vhost)
        direct = queues[f"direct_messaging_{INSTANCE}"]

        assert {name: queue["arguments"] for name, queue in queues.items()} == {
            **shared_queues(QUORUM),
            QUEUE: {"x-dead-letter-exchange": "job_delayed", "x-dead-letter-routing-key": QUEUE, **QUORUM},
            f"direct_messaging_{INSTANCE}": QUORUM,
        }
        assert (direct["durable"], direct["auto_delete"]) == (True, False)

    assert f"direct_messaging_{INSTANCE}" not in queues_of(rabbitmq_node, vhost)


@pytest.mark.parametrize("server", ["standalone", "cluster"])
async def test_the_acknowledgement_time_out_is_an_argument_of_the_job_queue_only(rabbitmq_node, vhost, driver, server):
    async with driver(vhost, consumer_timeout_ms=90000, server_configuration=server):
        arguments = {name: queue["arguments"] for name, queue in queues_of(rabbitmq_node, vhost).items()}

    given = {name: one["x-consumer-timeout"] for name, one in arguments.items() if "x-consumer-timeout" in one}
    assert given == ({} if server == "standalone" and rabbitmq_node.is_strict else {QUEUE: 90000})


async def test_queues_are_bound_and_consumed_as_recorded(rabbitmq_node, vhost, driver):
    async with driver(vhost) as one:
        await one.exchange.consume_jobs()
        bindings = {
            (binding["source"], binding["destination"], binding["routing_key"]): binding["arguments"]
            for binding in rabbitmq_node.api.bindings(vhost.name)
        }
        found = await eventually(lambda: rabbitmq_node.api.consumers(vhost.name), lambda some: len(some) == 2)
        consumers = {
            consumer["consumer_tag"]: (consumer["queue"]["name"], consumer["prefetch_count"], consumer["ack_required"])
            for consumer in found
        }

        assert bindings == {
            ("job_submit", QUEUE, QUEUE): {},
            ("job_delayed", "job_delayed", "*"): {},
            ("direct_messaging", f"direct_messaging_{INSTANCE}", "*"): {
                "x-match": "any",
                "broadcast": "true",
                "instance_id": INSTANCE,
                "job_type": QUEUE,
                "worker_name": "my_worker",
                "worker_version": "1.2.3",
            },
        }
        assert consumers == {
            "amqp_worker": (QUEUE, 1, True),
            "status_amqp_worker": (f"direct_messaging_{INSTANCE}", 1, True),
        }


async def test_the_connection_is_named_after_worker_and_instance(rabbitmq_node, vhost, driver):
    async with driver(vhost):
        connections = await eventually(
            lambda: [one for one in rabbitmq_node.api.connections(vhost.name) if one.get("client_properties")], bool
        )
        properties = connections[0]["client_properties"]

        assert properties["connection_name"] == f"my_worker/{INSTANCE}"
        assert properties["capabilities"]["consumer_cancel_notify"] is True
        assert properties["capabilities"]["connection.blocked"] is True


async def test_the_worker_is_announced_once_before_it_consumes(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        discovery = (await tap.wait_for("worker_discovery"))[0]

        assert one.announcements == 1
        assert discovery["exchange"] == "job_response"
        assert discovery["properties"] == {"content_type": "application/json", "delivery_mode": 2}
        assert discovery["body"]["instance_id"] == INSTANCE


async def test_a_published_result_is_on_its_queue_when_publish_returns(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost, delivery_mode=1) as one:
        await one.exchange.publish(JobResult(7, JobState.COMPLETED, destination_paths=["/données/é☃😀.mp4"]))
        result = (await tap.wait_for("job_completed"))[0]

        assert result["exchange"] == "job_response"
        assert result["properties"] == {"content_type": "application/json", "delivery_mode": 1}
        assert result["body"]["destination_paths"] == ["/données/é☃😀.mp4"]
        assert result["body"]["status"] == "completed"


async def test_every_progression_comes_in_order_and_before_the_result(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        for percent in range(101):
            one.exchange.publish_progression(Progression(7, percent, INSTANCE))
        await one.exchange.publish(JobResult(7, JobState.COMPLETED))
        await tap.wait_for("job_completed")

        assert tap.keys()[1:] == ["job_progression"] * 101 + ["job_completed"]
        assert [one["body"]["progression"] for one in tap.out("job_progression")] == list(range(101))


async def test_a_flood_of_progressions_is_thinned_but_keeps_its_last_value(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        for number in range(20_000):
            one.exchange.publish_progression(Progression(7, number % 101, INSTANCE))
        one.exchange.publish_progression(Progression(7, 100, INSTANCE))
        await one.exchange.publish(JobResult(7, JobState.COMPLETED))
        await tap.wait_for("job_completed")
        seen = [one["body"]["progression"] for one in tap.out("job_progression")]

        assert len(seen) < 1000
        assert seen[-1] == 100
        assert tap.keys()[-1] == "job_completed"


async def test_publishing_something_else_as_progression_is_refused(vhost, driver):
    async with driver(vhost) as one:
        with pytest.raises(TypeError) as caught:
            one.exchange.publish_progression(JobResult(7, JobState.COMPLETED))

    assert str(caught.value) == "The response is a JobResult; expected a Progression. Use publish()."


async def test_an_order_arrives_with_its_headers_and_one_at_a_time(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await tap.submit(QUEUE, order(1), headers={"x-origin": "here"}, priority=3)
        await tap.submit(QUEUE, order(2))
        assert one.deliveries == []
        await one.exchange.consume_jobs()
        await one.exchange.consume_jobs()
        first = await one.delivery()

        assert (first.lane, first.redelivered, first.attempts, first.soft_rejects) == (Lane.JOBS, False, 0, 0)
        assert dict(first.properties.headers) == {"x-origin": "here"}
        assert len(one.deliveries) == 1
        await one.exchange.settle(first)
        assert job_id_of(await one.delivery(2)) == 2


async def test_direct_messages_arrive_while_an_order_is_unsettled(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        await one.delivery()
        for _ in range(3):
            await tap.direct({"type": "status"})
        for count in (2, 3, 4):
            direct = await one.delivery(count)
            assert direct.lane is Lane.DIRECT
            await one.exchange.settle(direct)


@pytest.mark.parametrize(
    "headers",
    [
        {"broadcast": "true"},
        {"instance_id": INSTANCE},
        {"job_type": QUEUE},
        {"worker_name": "my_worker"},
        {"worker_version": "1.2.3"},
    ],
)
async def test_each_header_of_the_worker_reaches_it(vhost, driver, headers):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await tap.direct({"type": "status"}, instance_id="another")
        await tap.direct({"type": "status"}, **headers)

        assert dict((await one.delivery()).properties.headers) == headers


async def test_an_acknowledged_order_is_gone(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        await one.exchange.settle(await one.delivery())

    assert rabbitmq_node.api.get(vhost.name, QUEUE) == []


async def test_settling_twice_is_harmless(vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        first = await one.delivery()
        await one.exchange.settle(first)
        await one.exchange.settle(first)
        await tap.submit(QUEUE, order(2))

        assert job_id_of(await one.delivery(2)) == 2


SERVERS = pytest.mark.parametrize("server", ["standalone", "cluster"])
#: Of each count, what a copy says of an order whose counts are none.
COPIES = {
    Count.ATTEMPTS: {"x-mcai-order": {"attempts": 1, "put_backs": 0}},
    Count.SOFT_REJECTS: {"soft_reject": [{"count": 1}]},
    Count.PUT_BACKS: {"x-mcai-order": {"attempts": 0, "put_backs": 1}},
}


async def sent_back(one, number, count):
    """Send the order that came as the so-many-th through the delay queue; what comes back."""
    delivery = await one.delivery(number)
    await one.exchange.delay(delivery, count)
    await one.exchange.settle(delivery)
    return await one.delivery(number + 1)


@SERVERS
@pytest.mark.parametrize("count", Count)
async def test_an_order_comes_back_through_the_delay_queue_with_one_of_its_counts_raised(vhost, driver, server, count):
    async with Tap(vhost, delayed=True) as tap, driver(vhost, server_configuration=server) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1), priority=42, headers={"x-origin": "here"})
        again = await sent_back(one, 1, count)
        copies = await tap.wait_for(QUEUE)

        assert {count: getattr(again, count.value) for count in Count} == {one: int(one is count) for one in Count}
        assert (again.redelivered, again.returns) == (False, 0)
        assert json.loads(again.body) == order(1)
        assert copies[0]["properties"]["priority"] == 42
        assert copies[0]["properties"]["headers"] == {"x-origin": "here", **COPIES[count]}


@SERVERS
async def test_counts_add_up_over_many_trips(monkeypatch, vhost, driver, server):
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.topology.DELAY_MS", 100)
    async with Tap(vhost) as tap, driver(vhost, server_configuration=server) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        for number, count in enumerate([*Count, *Count, Count.ATTEMPTS], start=1):
            again = await sent_back(one, number, count)

        assert (again.attempts, again.soft_rejects, again.put_backs) == (3, 2, 2)


@SERVERS
async def test_attempts_that_a_worker_of_the_reference_had_counted_by_the_broker_are_kept(
    monkeypatch, vhost, driver, server
):
    """It rejects what was delivered before, and leaves the counting to the broker."""
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.topology.DELAY_MS", 100)
    async with Tap(vhost) as tap, driver(vhost, server_configuration=server) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        for number in (1, 2):
            delivery = await one.delivery(number)
            delivery.channel._channel.basic_reject(delivery.tag, requeue=False)
        assert (await one.delivery(3)).attempts == 2
        counted = await sent_back(one, 3, Count.ATTEMPTS)
        put_back = await sent_back(one, 4, Count.PUT_BACKS)

        assert (counted.attempts, counted.put_backs) == (3, 0)
        assert (put_back.attempts, put_back.put_backs) == (3, 1)


#: What RabbitMQ itself does not take of the field types: numbers that are none, and a name of the specification.
REFUSED = ("infinity", "int16 of the specification")


@SERVERS
async def test_a_copy_has_every_header_with_the_type_and_value_it_came_with(monkeypatch, vhost, driver, server):
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.topology.DELAY_MS", 100)
    fields = {name: field for name, (field, _) in FIELDS.items() if name not in REFUSED}
    async with Tap(vhost) as tap, driver(vhost, server_configuration=server) as one:
        await one.exchange.consume_jobs()
        properties = MessageProperties(with_headers(b"".join(entry(name, field) for name, field in fields.items())))
        await tap.publish("job_submit", QUEUE, order(1), properties)
        first = await one.delivery()
        again = await sent_back(one, 1, Count.SOFT_REJECTS)

        # RabbitMQ has a name of its own for the type that the specification calls L, and may write that.
        fields.pop("int64 of the specification")
        for delivery in (first, again):
            assert {name: delivery.properties.headers._fields[name] for name in fields} == fields


async def test_headers_that_leave_no_room_for_the_count_are_an_error_that_names_them(vhost, driver):
    """RabbitMQ cuts no content header: one that exceeds a frame by our count would cost the link, again and again."""
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        room = 131072 - CONTENT_HEADER_BYTES - len(with_headers(entry("h", sized(b"S", b""))))
        properties = MessageProperties(with_headers(entry("h", sized(b"S", b"x" * room))))
        await tap.publish("job_submit", QUEUE, order(1), properties)
        with pytest.raises(MessageRefusedError) as caught:
            await one.exchange.delay(await one.delivery(), Count.SOFT_REJECTS)

        assert "The headers of the message job_test are 1310" in str(caught.value)
        assert not [event for event in one.events if isinstance(event, ev.LinkLost)]


async def test_paused_jobs_stay_in_the_queue_until_consuming_goes_on(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        first = await one.delivery()
        await one.exchange.pause_jobs()
        await one.exchange.pause_jobs()
        await one.exchange.settle(first)
        await tap.submit(QUEUE, order(2))
        await tap.direct({"type": "status"})
        assert (await one.delivery(2)).lane is Lane.DIRECT
        await one.exchange.consume_jobs()

        assert job_id_of(await one.delivery(3)) == 2
        assert one.deliveries[2].redelivered is False


async def test_a_body_of_16_mebibytes_goes_both_ways(vhost, driver):
    text = "x" * (16 * 1024 * 1024)
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, {"job_id": 1, "parameters": [], "padding": text})
        assert len((await one.delivery()).body) > len(text)
        await one.exchange.publish(JobResult(1, JobState.COMPLETED, destination_paths=[text]))

        assert (await tap.wait_for("job_completed"))[0]["body"]["destination_paths"] == [text]


async def test_an_unroutable_result_is_sent_again_until_a_queue_takes_it(rabbitmq_node, vhost, driver):
    async with driver(vhost) as one:
        publishing = asyncio.create_task(one.exchange.publish(JobResult(7, JobState.COMPLETED)))
        await asyncio.wait({publishing}, timeout=1.0)
        assert not publishing.done()
        rabbitmq_node.api.declare_queue(vhost.name, "job_completed")
        path = f"/bindings/{vhost.name}/e/job_response/q/job_completed"
        rabbitmq_node.api.request("POST", path, {"routing_key": "job_completed"})
        await publishing

        messages = rabbitmq_node.api.get(vhost.name, "job_completed")
        assert [json.loads(message["payload"])["job_id"] for message in messages] == [7]


async def test_a_refused_result_is_sent_again(rabbitmq_node, vhost, driver):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    rabbitmq_node.api.declare_queue(vhost.name, "job_completed", arguments=arguments)
    async with driver(vhost) as one:
        path = f"/bindings/{vhost.name}/e/job_response/q/job_completed"
        rabbitmq_node.api.request("POST", path, {"routing_key": "job_completed"})
        await one.exchange.publish(JobResult(1, JobState.COMPLETED))
        publishing = asyncio.create_task(one.exchange.publish(JobResult(2, JobState.COMPLETED)))
        await asyncio.wait({publishing}, timeout=0.3)
        assert not publishing.done()
        assert len(rabbitmq_node.api.get(vhost.name, "job_completed")) == 1
        await publishing

        messages = rabbitmq_node.api.get(vhost.name, "job_completed")
        assert [json.loads(message["payload"])["job_id"] for message in messages] == [2]


async def test_a_status_nobody_listens_to_does_not_hold_the_worker_up(vhost, driver, identity):
    async with driver(vhost) as one:
        await one.exchange.publish(WorkerStatusReport(Activity.IDLE, identity, {}))


async def test_an_unroutable_result_fails_when_the_exchange_is_closed(vhost, driver):
    async with driver(vhost) as one:
        publishing = asyncio.create_task(one.exchange.publish(JobResult(7, JobState.COMPLETED)))
        await asyncio.sleep(0)
        await one.exchange.close()
        await one.exchange.close()
        with pytest.raises(ExchangeError) as caught:
            await publishing
        with pytest.raises(ExchangeError):
            await one.exchange.publish(JobResult(7, JobState.COMPLETED))

    assert "before the broker confirmed job_completed" in str(caught.value)


async def test_closing_gives_unsettled_orders_back(rabbitmq_node, vhost, driver):
    async with Tap(vhost) as tap, driver(vhost) as one:
        await one.exchange.consume_jobs()
        await tap.submit(QUEUE, order(1))
        await one.delivery()
        await one.exchange.close()

        assert [json.loads(message["payload"]) for message in rabbitmq_node.api.get(vhost.name, QUEUE)] == [order(1)]
