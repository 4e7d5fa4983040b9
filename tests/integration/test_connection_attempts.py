"""An attempt at a connection that is given up, or refused, at any step: nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from pamqp import commands

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpClosed, AmqpConnection
from mcai_worker_sdk.exchange.rabbitmq.connection import connection_parameters, open_connection, tls_context
from mcai_worker_sdk.settings import AmqpSettings
from tests.support.amqp_peer import AmqpPeer
from tests.support.rabbitmq import eventually, free_port
from tests.support.tls import Authority

IDENTITY = {"name": "w", "instance_id": "i"}
STEPS = {
    "nothing said": commands.Connection.Start,
    "started": commands.Connection.Tune,
    "tuned": commands.Connection.OpenOk,
}


@contextlib.asynccontextmanager
async def nothing_is_left() -> AsyncIterator[None]:
    """No exception in a callback, no task, no open descriptor, no warning of one."""
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    gc.collect()
    descriptors, tasks = psutil.Process().num_fds(), asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        await eventually(asyncio.all_tasks, lambda left: left == tasks)
        gc.collect()
    assert (faults, [str(one.message) for one in caught]) == ([], [])
    # The peer's own side of a connection is closed a moment later.
    await eventually(psutil.Process().num_fds, lambda count: count == descriptors)


def parameters_for(port: int, authority: Authority | None = None, host: str = "127.0.0.1") -> Any:
    settings = AmqpSettings(hostname=host, port=port, tls_cert=authority and authority.file)
    return connection_parameters(settings, IDENTITY, tls_context(settings) if authority else None)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def given_up(attempt: asyncio.Task[Any]) -> AsyncIterator[None]:
    """What follows is the time until the attempt is cancelled."""
    yield
    attempt.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        connection = await attempt
        await connection.close(1.0)


def attempt_at(port: int, authority: Authority | None = None) -> asyncio.Task[AmqpConnection]:
    return asyncio.create_task(AmqpConnection.open(parameters_for(port, authority), heartbeat_seconds=60))


@pytest.mark.parametrize("half_said", [False, True], ids=["silent", "broken off"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_an_attempt_cancelled_while_the_broker_says_nothing_leaves_nothing(
    authority: Authority, secured: bool, step: str, half_said: bool
):
    certificate = authority.good().server_context() if secured else None
    async with nothing_is_left(), AmqpPeer(silent_before=STEPS[step], half_said=half_said, tls=certificate) as peer:
        attempt = attempt_at(peer.port, authority if secured else None)
        async with given_up(attempt):
            await peer.wait_for(lambda: peer.connections == 1)
            await peer.wait_for(lambda: len(peer.received) >= list(STEPS).index(step))
        await peer.wait_for(lambda: peer.sessions == 0)


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_an_attempt_cancelled_in_any_turn_of_the_loop_leaves_nothing(authority: Authority, secured: bool):
    """From the first turn to the one in which the connection is open."""
    certificate = authority.good().server_context() if secured else None
    async with nothing_is_left(), AmqpPeer(tls=certificate) as peer:
        for count in range(1000):
            attempt = attempt_at(peer.port, authority if secured else None)
            async with given_up(attempt):
                await turns(count)
                opened = attempt.done()
            if opened:
                break
        assert opened
        await peer.wait_for(lambda: peer.sessions == 0)


@pytest.mark.parametrize("hello", [b"", b"\x16\x03"], ids=["silent", "broken off"])
async def test_an_attempt_cancelled_in_the_tls_handshake_leaves_nothing(authority: Authority, hello: bytes):
    asked = asyncio.Event()

    async def say_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(hello)
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_half, "127.0.0.1", 0)
    async with server, nothing_is_left(), given_up(attempt_at(server.sockets[0].getsockname()[1], authority)):
        await asked.wait()


@pytest.mark.parametrize("step", STEPS)
async def test_an_attempt_that_takes_too_long_is_given_up_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, step: str
):
    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.connection.OPEN_TIMEOUT_SECONDS", 0.1)
    async with nothing_is_left(), AmqpPeer(silent_before=STEPS[step]) as peer:
        with pytest.raises(AmqpClosed) as caught:
            await attempt_at(peer.port)
        await peer.wait_for(lambda: peer.sessions == 0)

    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("step", [*STEPS, "accepted"])
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_an_attempt_that_the_other_side_drops_leaves_nothing(authority: Authority, secured: bool, step: str):
    certificate = authority.good().server_context() if secured else None
    async with (
        nothing_is_left(),
        AmqpPeer(silent_before=STEPS.get(step, commands.Connection.Start), tls=certificate) as peer,
    ):
        attempt = attempt_at(peer.port, authority if secured else None)
        await peer.wait_for(lambda: peer.connections == 1)
        if step in STEPS:
            await peer.wait_for(lambda: len(peer.received) >= list(STEPS).index(step))
        peer.drop()
        with pytest.raises(AmqpClosed):
            await attempt


async def test_a_peer_that_speaks_another_protocol_first_leaves_nothing():
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    async with nothing_is_left(), await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        with pytest.raises(AmqpClosed):
            await attempt_at(server.sockets[0].getsockname()[1])


async def test_a_fault_in_a_callback_ends_the_attempt_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_arguments: object) -> None:
        raise LookupError("planted")

    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.adapter.PikaConnection._on_connection_tune", broken)
    async with nothing_is_left(), AmqpPeer() as peer:
        with pytest.raises(AmqpClosed) as caught:
            await attempt_at(peer.port)
        await peer.wait_for(lambda: peer.sessions == 0)

    assert "The AMQP client failed: LookupError('planted')" in str(caught.value)
    assert "planted" in caplog.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch, host: str):
    """The first one refuses: nothing listens there."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def two(name: str, port: int, **options: Any) -> list[Any]:
        (found, *_) = await resolve(name, port, family=socket.AF_INET, **options)
        return [(*found[:4], ("127.0.0.2", port)), found]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    async with AmqpPeer() as peer:
        connection = await AmqpConnection.open(parameters_for(peer.port, host=host), heartbeat_seconds=60)
        await connection.close(1.0)

    assert peer.connections == 1


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("host", ["[::1]", "::1", "[::1%1]", "::1%1"])
async def test_an_ipv6_address_is_taken_in_brackets_and_without(authority: Authority, host: str, secured: bool):
    certificate = authority.good().server_context() if secured else None
    async with AmqpPeer(host="::1", tls=certificate) as peer:
        parameters = parameters_for(peer.port, authority if secured else None, host)
        connection = await AmqpConnection.open(parameters, heartbeat_seconds=60)
        await connection.close(1.0)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("[::1]", "The RabbitMQ server [::1]:{port} refuses connections: nothing listens there."),
        ("::1", "The RabbitMQ server [::1]:{port} refuses connections: nothing listens there."),
        ("[::1", "The RabbitMQ host name '[::1' cannot be resolved: "),
        ("a..b", "The RabbitMQ host name 'a..b' cannot be resolved: "),
        ("[::1]:5672", "The RabbitMQ host name '[::1]:5672' cannot be resolved: "),
    ],
)
async def test_a_host_that_cannot_be_reached_is_named_as_it_was_written(host: str, said: str):
    settings = AmqpSettings(hostname=host, port=free_port())
    with pytest.raises(ExchangeError) as caught:
        await open_connection(settings, connection_parameters(settings, IDENTITY, None))

    assert str(caught.value).startswith(said.format(port=settings.port))
