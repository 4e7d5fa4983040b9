"""What RabbitMQ 3.10 cannot be made to say, said by a scripted peer to a whole worker."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands, header
from pamqp.body import ContentBody

from tests.support.amqp_peer import AmqpPeer
from tests.support.rabbitmq import VirtualHost, eventually
from tests.support.workers import WorkerProcess, code_order
from tests.unit.test_rabbitmq_fields import FIELDS, entry, sized, with_headers

JOBS = "amqp_worker"
DIRECT = "status_amqp_worker"
TERMINAL = ("job_completed", "job_error", "job_stopped")


class PeerScene:
    """A worker on a scripted peer."""

    def __init__(self, peer: AmqpPeer, folder: Path) -> None:
        self.peer = peer
        self._runs = folder / "runs"
        self._runs.touch()

    @contextlib.asynccontextmanager
    async def worker(self, **environment: str) -> AsyncIterator[WorkerProcess]:
        host = VirtualHost(name="/", username="guest", password="guest", port=self.peer.port)
        async with WorkerProcess(host, environment=environment) as worker:
            await self.published("worker_created")
            await self.peer.wait_for(lambda: self.consumers(JOBS) >= 1)
            yield worker

    async def deliver(self, job_id: int, code: str = "", *, tag: int = 1, **delivery: Any) -> None:
        """Deliver an order, whose run leaves a mark."""
        mark = f"with open({str(self._runs)!r}, 'a') as runs: runs.write(f'{{job_id}}\\n')\n"
        order = json.dumps(code_order(job_id, mark + code)).encode()
        await self.peer.deliver(JOBS, order, tag=tag, **delivery)

    async def running(self, job_id: int) -> None:
        await eventually(lambda: self.runs(job_id), bool)

    def runs(self, job_id: int) -> int:
        return self._runs.read_text().split().count(str(job_id))

    async def published(self, key: str, count: int = 1) -> None:
        await self.peer.wait_for(lambda: self.keys().count(key) >= count, timeout_seconds=20)

    async def acknowledged(self, count: int = 1) -> None:
        await self.peer.wait_for(lambda: len(self.peer.methods(commands.Basic.Ack)) >= count, timeout_seconds=20)

    def keys(self) -> list[str]:
        return [key for _, key, _ in self.peer.published]

    def terminal(self) -> list[str]:
        return [key for key in self.keys() if key in TERMINAL]

    def consumers(self, tag: str) -> int:
        """How often a consumer was started."""
        return sum(frame.consumer_tag == tag for frame in self.peer.methods(commands.Basic.Consume))


def returned(frame: Any, body: bytes) -> list[Any]:
    """An unroutable mandatory message, as the broker gives it back before it confirms it."""
    return [
        commands.Basic.Return(312, "NO_ROUTE", frame.exchange, frame.routing_key),
        header.ContentHeader(body_size=len(body), properties=commands.Basic.Properties()),
        ContentBody(body),
    ]


@pytest.fixture
async def peer() -> AsyncIterator[AmqpPeer]:
    async with AmqpPeer() as one:
        yield one


def nested(depth: int) -> bytes:
    field = b"V"
    for _ in range(depth):
        field = sized(b"A", field)
    return field


def count_of(field: bytes) -> bytes:
    """A list with one table, whose entry ``count`` is this."""
    return sized(b"A", sized(b"F", entry("count", field)))


#: Properties that nobody should send, and somebody does: RabbitMQ passes on most of them.
PROPERTIES = {
    **{name: with_headers(entry("h", field)) for name, (field, _) in FIELDS.items()},
    "unknown type": with_headers(entry("h", b"Zabc")),
    "text beyond the table": with_headers(entry("h", sized(b"S", b"abc")[:-1])),
    "table beyond the properties": struct.pack(">HI", 1 << 13, 1000),
    "nothing but flags": b"\xff\xff",
    "nothing": b"",
    "20,000 arrays in each other": with_headers(entry("h", nested(20_000))),
    "deaths that are none": with_headers(entry("x-death", nested(3)) + entry("x-delivery-count", b"V")),
    "a death at a time in milliseconds": with_headers(
        entry("x-death", sized(b"A", sized(b"F", entry("time", FIELDS["milliseconds"][0]))))
    ),
    "a soft reject that is not counted": with_headers(entry("soft_reject", count_of(sized(b"S", b"many")))),
    "counts of this SDK that are none": with_headers(entry("x-mcai-order", sized(b"A", b"V"))),
}


async def test_an_order_is_run_whatever_its_headers_hold(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)
    async with scene.worker() as worker:
        for number, properties in enumerate(PROPERTIES.values(), start=1):
            await scene.deliver(number, tag=number, properties=properties)
            await scene.acknowledged(number)
        assert "is lost" not in worker.log

    assert scene.terminal() == ["job_completed"] * len(PROPERTIES)
    assert [scene.runs(number) for number in range(1, len(PROPERTIES) + 1)] == [1] * len(PROPERTIES)
    assert peer.connections == 1


async def test_a_direct_message_is_answered_whatever_its_headers_hold(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)
    async with scene.worker():
        for number, properties in enumerate(PROPERTIES.values(), start=1):
            await peer.deliver(DIRECT, b'{"type": "status"}', tag=number, properties=properties)
            await scene.published("worker_status", number)

    assert peer.connections == 1


@pytest.mark.parametrize("name", ["milliseconds", "infinity", "unknown type"])
async def test_a_broker_may_say_anything_about_itself(tmp_path: Path, name: str):
    """Behind an unknown type nothing can be read any more, not even what the broker is able to do."""
    async with AmqpPeer() as peer:
        peer.server_properties = entry("h", FIELDS[name][0] if name in FIELDS else b"Zabc")
        scene = PeerScene(peer, tmp_path)
        async with scene.worker():
            await scene.deliver(1)
            await scene.acknowledged()

    assert scene.terminal() == ["job_completed"]
    assert peer.connections == 1


async def test_a_broker_that_permits_no_transient_queue_gets_an_exclusive_one(tmp_path: Path):
    def refuse(frame: Any) -> Sequence[Any] | None:
        if not frame.queue.startswith("direct_messaging_") or frame.exclusive:
            return None
        text = "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated"
        return [commands.Connection.Close(541, text, 50, 10)]

    async with AmqpPeer(version="4.2.5") as peer:
        peer.rule(commands.Queue.Declare, refuse)
        scene = PeerScene(peer, tmp_path)
        async with scene.worker():
            await scene.deliver(1)
            await scene.published("job_completed")
            await scene.acknowledged()

    direct = [frame for frame in peer.methods(commands.Queue.Declare) if frame.queue.startswith("direct_messaging_")]
    assert [frame.exclusive for frame in direct] == [False, True]
    assert (scene.terminal(), scene.runs(1)) == (["job_completed"], 1)


async def test_an_acknowledgement_time_out_in_the_middle_of_a_job_is_survived(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)
    gate = tmp_path / "gate"
    async with scene.worker():
        code = f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)"
        await scene.deliver(1, code)
        await scene.running(1)
        text = "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out"
        await peer.close_consumer_channel(JOBS, 406, text)
        await peer.wait_for(lambda: scene.consumers(JOBS) == 2)
        await scene.deliver(1, code, redelivered=True)
        gate.touch()
        await scene.published("job_completed")
        await scene.acknowledged()

    assert (scene.terminal(), scene.runs(1)) == (["job_completed"], 1)
    assert peer.connections == 1


async def test_a_direct_queue_still_held_for_the_lost_connection_does_not_keep_jobs_away(
    peer: AmqpPeer, tmp_path: Path
):
    scene = PeerScene(peer, tmp_path)
    refusals: list[Any] = []

    def locked(frame: Any) -> Sequence[Any] | None:
        if peer.connections == 1 or not frame.queue.startswith("direct_messaging_") or len(refusals) == 2:
            return None
        refusals.append(frame)
        return [commands.Channel.Close(405, "RESOURCE_LOCKED - cannot obtain exclusive access", 50, 10)]

    peer.rule(commands.Queue.Declare, locked)
    forced = commands.Connection.Close(320, "CONNECTION_FORCED - Closed by the operator", 0, 0)
    peer.rule_once(commands.Basic.Publish, lambda frame: frame.routing_key == "worker_status", forced)
    async with scene.worker():
        await peer.deliver(DIRECT, b'{"type": "status"}')
        await peer.wait_for(lambda: scene.consumers(JOBS) == 2)
        await scene.deliver(1)
        await scene.published("job_completed")
        directs_before = scene.consumers(DIRECT)
        await peer.wait_for(lambda: scene.consumers(DIRECT) == 2)
        await peer.deliver(DIRECT, b'{"type": "status"}', redelivered=True)
        await scene.published("worker_status", count=2)

    assert directs_before == 1
    assert len(refusals) == 2
    assert (scene.terminal(), scene.runs(1)) == (["job_completed"], 1)


async def test_small_frames_carry_a_large_result(tmp_path: Path):
    async with AmqpPeer(frame_max=8192) as peer:
        scene = PeerScene(peer, tmp_path)
        async with scene.worker():
            await scene.deliver(1, "ret = {'destination_paths': ['x' * 1_000_000]}")
            await scene.published("job_completed")
            await scene.acknowledged()

    (result,) = [json.loads(body) for _, key, body in peer.published if key == "job_completed"]
    assert result["destination_paths"] == ["x" * 1_000_000]
    assert peer.largest_frame <= 8192


async def test_a_result_too_large_for_the_broker_is_reported_once_as_an_error(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)
    text = "PRECONDITION_FAILED - message size 20000000 is larger than configured max size 16777216"
    peer.rule_once(
        commands.Basic.Publish,
        lambda frame: frame.routing_key == "job_completed",
        commands.Channel.Close(406, text, 60, 40),
    )
    async with scene.worker() as worker:
        await scene.deliver(1, "ret = {'destination_paths': ['x' * 20_000_000]}")
        await scene.published("job_error")
        await scene.acknowledged()
        await scene.deliver(2, tag=2)
        await scene.published("job_completed", count=2)
        assert "Traceback" not in worker.log

    (error,) = [json.loads(body) for _, key, body in peer.published if key == "job_error"]
    assert "Write large results to a file and return its path." in error["parameters"][0]["value"]
    assert (error["job_id"], scene.runs(1), scene.runs(2)) == (1, 1, 1)


@pytest.mark.parametrize("answer", ["nack", "return"])
async def test_a_result_that_is_not_taken_is_sent_again_while_status_is_answered(
    peer: AmqpPeer, tmp_path: Path, answer: str
):
    """The order is acknowledged after the result that was taken, not before."""
    scene = PeerScene(peer, tmp_path)
    refused: list[int] = []

    def refuse(frame: Any) -> Sequence[Any] | None:
        if frame.routing_key != "job_completed" or len(refused) == 2:
            return None
        tag = len(peer.published)
        refused.append(tag)
        if answer == "nack":
            return [commands.Basic.Nack(tag)]
        return [*returned(frame, peer.published[-1][2]), commands.Basic.Ack(tag)]

    peer.rule(commands.Basic.Publish, refuse)
    async with scene.worker():
        await scene.deliver(1)
        await scene.published("job_completed")
        await peer.deliver(DIRECT, b'{"type": "status"}', tag=1)
        await scene.published("worker_status")
        assert scene.keys().count("job_completed") < 3
        await scene.published("job_completed", count=3)
        await scene.acknowledged(2)

    bodies = {body for _, key, body in peer.published if key == "job_completed"}
    assert len(bodies) == 1
    assert scene.runs(1) == 1


async def test_a_result_that_may_not_be_published_waits_and_keeps_nothing_else_from_being_said(
    peer: AmqpPeer, tmp_path: Path
):
    """Each attempt costs the channel, by which the answers go as well. RabbitMQ asks for it once a channel."""
    scene = PeerScene(peer, tmp_path)
    refusal = "ACCESS_REFUSED - write access to exchange 'job_response' in vhost '/' refused for user 'guest'"
    refused: list[Any] = []

    def refuse(frame: Any) -> Sequence[Any] | None:
        if frame.routing_key != "job_completed" or len(refused) == 3:
            return None
        refused.append(frame)
        return [commands.Channel.Close(403, refusal, 60, 40)]

    async with scene.worker() as worker:
        peer.rule(commands.Basic.Publish, refuse)
        await scene.deliver(1)
        for answers in range(1, 4):
            await peer.wait_for(lambda answers=answers: len(refused) >= answers, timeout_seconds=20)
            await peer.deliver(DIRECT, b'{"type": "status"}', tag=answers)
            await scene.published("worker_status", answers)
        await scene.published("job_completed", count=4)
        await scene.acknowledged(4)

    assert f"The message job_completed to exchange job_response is not delivered: 403 {refusal}" in worker.log
    assert scene.runs(1) == 1
    assert peer.connections == 1


async def test_stop_worker_is_obeyed_while_a_result_waits(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)

    def refuse(frame: Any) -> Sequence[Any] | None:
        return [commands.Basic.Nack(len(peer.published))] if frame.routing_key == "job_completed" else None

    peer.rule(commands.Basic.Publish, refuse)
    async with scene.worker(MCAI_SHUTDOWN_GRACE_SECONDS="1") as worker:
        await scene.deliver(1)
        await scene.published("job_completed")
        await peer.deliver(DIRECT, b'{"type": "stop_worker"}', tag=1)
        exit_code = await worker.ended(timeout_seconds=15)

    # The order of a result that nobody took is left unsettled: it comes again.
    acknowledged = [frame.delivery_tag for frame in peer.methods(commands.Basic.Ack)]
    assert exit_code == 0
    assert len(acknowledged) == 1


async def test_a_blocked_broker_gets_the_result_once_it_takes_messages_again(peer: AmqpPeer, tmp_path: Path):
    scene = PeerScene(peer, tmp_path)
    async with scene.worker() as worker:
        await peer.block("low on memory")
        await eventually(lambda: "takes no messages for now (low on memory)" in worker.log, bool)
        await scene.deliver(1)
        await scene.running(1)
        assert scene.terminal() == []
        await peer.unblock()
        await scene.published("job_completed")
        await scene.acknowledged()

    assert (scene.terminal(), scene.runs(1)) == (["job_completed"], 1)
