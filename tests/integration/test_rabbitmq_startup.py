"""Starting on a broker that refuses: each fault has a message that names it and its remedy, and no secret."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq import connection
from mcai_worker_sdk.protocol.responses import JobResult, JobState
from tests.integration.conftest import QUEUE
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
        f"The RabbitMQ server 127.0.0.1:{vhost.port} refuses the user {vhost.username!r} or its password. "
        "Check AMQP_USERNAME and AMQP_PASSWORD."
    )
    assert "wrong-s3cret" not in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_a_virtual_host_that_does_not_exist(vhost, driver):
    assert await failure(driver, vhost, vhost="nowhere") == (
        f"The RabbitMQ server 127.0.0.1:{vhost.port} does not let the user {vhost.username!r} into the virtual host "
        "'nowhere': it does not exist, or the user has no permission for it. Check AMQP_VHOST and the user's "
        "permissions."
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


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("kind", "trusted", "reason"),
    [
        ("expired", True, "certificate has expired"),
        ("wrong_host", True, "certificate is not valid for 'localhost'"),
        ("self_signed", True, "self-signed certificate"),
        ("good", False, "unable to get local issuer certificate"),
    ],
)
async def test_a_certificate_that_is_not_accepted(vhost, driver, authority, kind, trusted, reason):
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
    assert reason in text
    assert "Set AMQP_TLS_CERT" in text


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
