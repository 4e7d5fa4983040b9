"""Starting on a broker that refuses: each fault has a message that names it and its remedy, and no secret."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace

import pytest
from pamqp import commands

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq import connection
from mcai_worker_sdk.protocol.responses import JobResult, JobState
from tests.integration.conftest import QUEUE
from tests.support.amqp_peer import AmqpPeer
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import eventually, free_port
from tests.support.tap import Tap


@pytest.fixture
def impatient(monkeypatch):
    """One retry, at once, and short time-outs."""
    monkeypatch.setattr(connection, "DELAY_STEP_SECONDS", 0.0)
    monkeypatch.setattr(connection, "OPEN_TIMEOUT_SECONDS", 2.0)


async def failure(driver, host, **changes):
    async with driver(host, opened=False, connection_max_retry=1, **changes) as one:
        with pytest.raises(ExchangeError) as caught:
            await one.open()
        return str(caught.value)


@pytest.mark.usefixtures("impatient")
async def test_a_port_nobody_listens_on(vhost, driver):
    port = free_port()

    assert await failure(driver, vhost, port=port) == (
        f"The RabbitMQ server 127.0.0.1:{port} refuses connections: nothing listens there. "
        "Check AMQP_HOSTNAME and AMQP_PORT."
    )


@pytest.mark.usefixtures("impatient")
async def test_a_host_name_that_does_not_exist(vhost, driver):
    text = await failure(driver, vhost, hostname="broker.invalid")

    assert text.startswith("The RabbitMQ host name 'broker.invalid' cannot be resolved: ")
    assert text.endswith("Check AMQP_HOSTNAME.")


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_does_not_answer(vhost, driver):
    async with TcpProxy(vhost.port) as proxy:
        proxy.freeze()

        assert await failure(driver, vhost, port=proxy.port) == (
            f"The RabbitMQ server 127.0.0.1:{proxy.port} does not answer. Check AMQP_HOSTNAME, AMQP_PORT and the "
            "network between."
        )


@pytest.mark.usefixtures("impatient")
async def test_a_wrong_password_is_never_shown(vhost, driver, caplog):
    caplog.set_level(logging.DEBUG)
    text = await failure(driver, vhost, password="wrong-s3cret")

    assert text == (
        f"The RabbitMQ server 127.0.0.1:{vhost.port} refuses the user {vhost.username!r} or its password: 403 "
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. "
        "Check AMQP_USERNAME and AMQP_PASSWORD."
    )
    assert "wrong-s3cret" not in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_a_virtual_host_that_does_not_exist(vhost, driver):
    assert await failure(driver, vhost, vhost="nowhere") == (
        f"The RabbitMQ server 127.0.0.1:{vhost.port} does not let the user {vhost.username!r} into the virtual host "
        "'nowhere': 530 NOT_ALLOWED - vhost nowhere not found. Check AMQP_VHOST, and that the user has permissions for "
        "it."
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        ({"configure": "^$"}, "exchange 'job_submit'"),
        ({"configure": "^(?!job_test).*"}, "queue 'job_test'"),
        ({"write": "^(?!job_response$).*"}, "exchange 'job_response'"),
        ({"read": "^(?!direct_messaging_).*"}, "queue 'direct_messaging_"),
    ],
)
async def test_a_missing_permission_is_named(rabbitmq_node, vhost, driver, permissions, named):
    rabbitmq_node.api.set_permissions(vhost.name, vhost.username, **permissions)
    text = await failure(driver, vhost)

    assert "403 ACCESS_REFUSED" in text
    assert named in text
    assert f"Check the permissions of the user {vhost.username!r}." in text


# Limits: the broker's own words, and what to do about them

RAISE_IT = "Raise that limit at the broker, or end or delete what else it counts."


def limit_vhost(api, vhost, limit, value):
    api.set_limit(vhost.name, limit, value)


def limit_user(api, vhost, limit, value):
    api.set_user_limit(vhost.username, limit, value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("limit_by", "limit", "said"),
    [
        (limit_vhost, "max-connections", "connection limit (0) is reached"),
        (limit_user, "max-connections", "user connection limit (0) is reached"),
    ],
)
async def test_a_limit_of_connections_is_told_as_what_it_is(rabbitmq_node, vhost, driver, limit_by, limit, said):
    limit_by(rabbitmq_node.api, vhost, limit, 0)
    text = await failure(driver, vhost)

    assert text.startswith(f"The RabbitMQ server 127.0.0.1:{vhost.port} refuses the connection: 530 NOT_ALLOWED - ")
    assert text.endswith(f"{said}. {RAISE_IT}")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("limit_by", "limit", "value", "said"),
    [
        (limit_user, "max-channels", 1, "has reached the maximum allowed user limit of {left}1{right}"),
        (limit_user, "max-channels", 2, "has reached the maximum allowed user limit of {left}2{right}"),
        (limit_vhost, "max-queues", 0, "queue limit in vhost '{vhost}' (0) is reached"),
        (
            limit_vhost,
            "max-queues",
            3,
            "cannot declare queue 'job_test': queue limit in vhost '{vhost}' (3) is reached",
        ),
        (limit_vhost, "max-queues", 4, "queue limit in vhost '{vhost}' (4) is reached"),
    ],
)
async def test_a_limit_of_channels_or_queues_is_told_as_what_it_is(
    rabbitmq_node, vhost, driver, limit_by, limit, value, said
):
    limit_by(rabbitmq_node.api, vhost, limit, value)
    text = await failure(driver, vhost)

    assert f"refused to set up the worker's queues in virtual host {vhost.name!r}: " in text
    # 4.3 leaves the brackets out.
    left, right = ("", "") if rabbitmq_node.version >= (4, 3) else ("(", ")")
    assert text.endswith(f"{said.format(vhost=vhost.name, left=left, right=right)}. {RAISE_IT}")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("channel_max", [1, 2])
async def test_too_few_channels_for_a_worker_are_named(vhost, driver, channel_max):
    async with AmqpPeer(channel_max=channel_max) as peer:
        text = await failure(driver, replace(vhost, port=peer.port))

    assert text.endswith(
        f"its channel_max is {channel_max} channels for each connection; a worker needs 3. Raise it in the broker's "
        "configuration."
    )


async def test_three_channels_are_enough(vhost, driver):
    async with AmqpPeer(channel_max=3) as peer, driver(replace(vhost, port=peer.port), server_configuration="cluster"):
        pass

    # Also for the last request, which removes the durable direct queue.
    assert len(peer.methods(commands.Queue.Delete)) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("version", "frame_max", "least"), [("4.0.5", 1000, 4096), ("4.0.5", 4095, 4096), ("4.1.0", 8191, 8192)]
)
async def test_frames_that_are_too_small_are_named(vhost, driver, version, frame_max, least):
    async with AmqpPeer(version=version, frame_max=frame_max) as peer:
        text = await failure(driver, replace(vhost, port=peer.port))

    assert text == (
        f"The RabbitMQ server 127.0.0.1:{peer.port} cannot be used: its frame_max is {frame_max} bytes; expected at "
        f"least {least}. Raise it in the broker's configuration."
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("key", "value"), [("queue_name", "x" * 256), ("queue_name", "\udcff")])
async def test_a_name_that_cannot_be_written_is_an_error_like_one_that_is_refused(vhost, driver, identity, key, value):
    identity[key] = value
    text = await failure(driver, vhost)

    assert f"refused to set up the worker's queues in virtual host {vhost.name!r}: " in text


async def test_a_worker_of_a_very_long_name_connects(vhost, driver, identity):
    """What a client says of itself has to fit into the 4 KiB a broker takes before sizes are negotiated."""
    identity["name"] = "my worker " * 1000
    async with driver(vhost) as one:
        assert one.announcements == 1


@pytest.mark.usefixtures("impatient")
async def test_an_end_for_no_reason_of_the_direct_queue_is_not_taken_for_one(vhost, driver):
    """541 stands for any fault of the broker; only where the direct queue is declared it may be about its kind."""
    async with AmqpPeer(version="4.0.5") as peer:
        fault = commands.Connection.Close(541, "INTERNAL_ERROR", 50, 10)
        peer.rule(commands.Queue.Declare, lambda frame: [fault] if frame.queue == QUEUE else None)
        text = await failure(driver, replace(vhost, port=peer.port))

    assert "541 INTERNAL_ERROR. The broker's log may say more." in text
    assert peer.connections == 2  # the attempt and its one retry


async def test_a_job_queue_with_other_arguments_is_refused_at_once(rabbitmq_node, vhost, driver):
    arguments = {"x-queue-type": "classic", "x-max-priority": 5, "x-dead-letter-exchange": "job_delayed"}
    arguments["x-dead-letter-routing-key"] = QUEUE
    rabbitmq_node.api.declare_queue(vhost.name, QUEUE, arguments=arguments)
    async with driver(vhost, opened=False) as one:
        with pytest.raises(ExchangeError) as caught:
            await one.open()

    assert str(caught.value) == (
        f"The queue {QUEUE!r} of virtual host {vhost.name!r} exists with other arguments; expected "
        f"x-dead-letter-exchange='job_delayed', x-dead-letter-routing-key={QUEUE!r}, x-max-priority=100, "
        "x-queue-type='classic'. The broker says: 406 PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for "
        f"queue {QUEUE!r} in vhost {vhost.name!r}: received '100' but current is '5'. Delete it when it is empty, so "
        "that it is declared anew, or give the worker the AMQP_SERVER_CONFIGURATION and AMQP_CONSUMER_TIMEOUT it was "
        "declared with."
    )


async def test_retries_follow_the_documented_delays(monkeypatch, vhost, driver, caplog):
    waited = []

    async def note(seconds):
        waited.append(seconds)

    monkeypatch.setattr("mcai_worker_sdk.exchange.rabbitmq.exchange.asyncio.sleep", note)
    async with driver(vhost, opened=False, port=free_port(), connection_max_retry=7) as one:
        with pytest.raises(ExchangeError):
            await one.open()

    assert waited == [2, 4, 6, 8, 10, 10, 10]
    assert "refuses connections: nothing listens there. Check AMQP_HOSTNAME and AMQP_PORT. Next attempt in 2 s." in (
        caplog.text
    )


async def test_a_broker_that_comes_up_late_is_waited_for(monkeypatch, vhost, driver):
    monkeypatch.setattr(connection, "DELAY_STEP_SECONDS", 0.1)
    async with TcpProxy(vhost.port) as proxy:
        proxy.cut()
        async with driver(vhost, opened=False, port=proxy.port) as one:
            opening = asyncio.create_task(one.open())
            await eventually(lambda: proxy.accepted, lambda accepted: accepted >= 2)
            proxy.resume()
            await opening

            assert one.events == []


async def test_tls_with_the_authority_given_works(rabbitmq_node, vhost, driver, authority):
    async with (
        Tap(vhost) as tap,
        driver(vhost, hostname="localhost", port=rabbitmq_node.tls_port, tls=True, tls_cert=authority.file) as one,
    ):
        await one.exchange.publish(JobResult(1, JobState.COMPLETED, destination_paths=["x" * 3_000_000]))

        assert len((await tap.wait_for("job_completed"))[0]["body"]["destination_paths"][0]) == 3_000_000


ISSUE_IT_AGAIN = "The certificate of the broker, or that of the authority that signed it, must be issued again"
#: Python 3.13 and later ask for all that RFC 5280 asks for.
STRICT = pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python accepts it")
LENIENT = pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python does not accept it")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("kind", "trusted", "reason", "remedy"),
    [
        ("expired", True, "certificate has expired", ISSUE_IT_AGAIN),
        ("wrong_host", True, "certificate is not valid for 'localhost'", "Set AMQP_HOSTNAME to a name it was"),
        ("self_signed", True, "self-signed certificate", "Set AMQP_TLS_CERT to the PEM file"),
        ("good", False, "unable to get local issuer certificate", "Set AMQP_TLS_CERT to the PEM file"),
        pytest.param("incomplete", True, "Missing Authority Key Identifier", ISSUE_IT_AGAIN, marks=STRICT),
    ],
)
async def test_a_certificate_that_is_not_accepted(vhost, driver, authority, kind, trusted, reason, remedy):
    certificate = getattr(authority, kind)()
    async with TcpProxy(vhost.port, tls=certificate.server_context()) as proxy:
        text = await failure(
            driver,
            vhost,
            hostname="localhost",
            port=proxy.port,
            tls=True,
            tls_cert=authority.file if trusted else None,
        )

    assert text.startswith(f"The RabbitMQ server localhost:{proxy.port} shows a certificate that is not accepted: ")
    assert f"{reason}. {remedy}" in text


@LENIENT
async def test_a_certificate_without_every_extension_is_accepted(vhost, driver, authority):
    async with (
        TcpProxy(vhost.port, tls=authority.incomplete().server_context()) as proxy,
        driver(vhost, hostname="localhost", port=proxy.port, tls=True, tls_cert=authority.file) as one,
    ):
        assert one.announcements == 1


async def test_verification_turned_off_connects_and_warns(vhost, driver, authority, caplog):
    async with (
        TcpProxy(vhost.port, tls=authority.self_signed().server_context()) as proxy,
        driver(vhost, hostname="localhost", port=proxy.port, tls=True, tls_verify=False) as one,
    ):
        assert one.announcements == 1

    assert "AMQP_TLS_VERIFY is false: the certificate of localhost is not verified" in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_tls_against_a_plain_port(vhost, driver):
    text = await failure(driver, vhost, tls=True)

    assert text.startswith(f"The RabbitMQ server 127.0.0.1:{vhost.port} does not speak TLS: ")
    assert text.endswith("Set AMQP_PORT to the TLS port (5671), or AMQP_TLS to false.")


@pytest.mark.usefixtures("impatient")
async def test_plain_against_a_tls_port(rabbitmq_node, vhost, driver):
    assert await failure(driver, vhost, port=rabbitmq_node.tls_port) == (
        f"The RabbitMQ server 127.0.0.1:{rabbitmq_node.tls_port} closed the connection before it was open. It may be "
        "starting or stopping; if this stays, check AMQP_PORT, and set AMQP_TLS to true when it is the TLS port."
    )


async def test_an_authority_file_without_a_certificate_is_named(vhost, driver, tmp_path):
    path = tmp_path / "authority.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    async with driver(vhost, opened=False, tls=True, tls_cert=path) as one:
        with pytest.raises(ExchangeError) as caught:
            await one.open()

    assert f"The AMQP_TLS_CERT {str(path)!r} cannot be read as PEM certificates" in str(caught.value)
