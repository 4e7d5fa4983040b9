"""Opening a connection: parameters, TLS, what to say when it fails, when to try again."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika  # type: ignore[import-untyped]
import pika.adapters.utils.connection_workflow as workflow  # type: ignore[import-untyped]
import pika.exceptions  # type: ignore[import-untyped]

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpClosed, AmqpConnection, causes_of
from mcai_worker_sdk.logs import get_logger

if TYPE_CHECKING:
    from mcai_worker_sdk.settings import AmqpSettings

__all__ = ["connection_parameters", "explain", "first_delays", "later_delays", "open_connection", "tls_context"]

_log = get_logger(__name__)

#: Longest wait for TCP, and for TCP, TLS and AMQP together, seconds.
CONNECT_TIMEOUT_SECONDS = 10.0
OPEN_TIMEOUT_SECONDS = 20.0
#: Delays between attempts grow by this step up to the longest one, seconds; those of the reference.
DELAY_STEP_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 10.0
#: Part of a delay that is left to chance, so that a hundred workers do not come back in the same instant.
JITTER = 0.2

#: How the client library says that time ran out: in TCP, in the handshake, over all of it.
_TIMED_OUT = (TimeoutError, pika.exceptions.ConnectionOpenAborted, workflow.AMQPConnectorStackTimeout)
#: How it says that the broker closed the connection, by the stage it was in.
_REFUSED = (
    pika.exceptions.IncompatibleProtocolError,
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
)


def tls_context(settings: AmqpSettings) -> ssl.SSLContext:
    """
    The TLS settings: the system's authorities plus ``AMQP_TLS_CERT``; chain and host name are verified.

    Raises:
        ExchangeError: ``AMQP_TLS_CERT`` holds no certificate that can be used.
    """
    context = ssl.create_default_context()
    if settings.tls_cert is not None:
        _trust(context, settings.tls_cert)
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _log.warning(
            "AMQP_TLS_VERIFY is false: the certificate of %s is not verified, and anyone on the way can read and "
            "change messages.",
            settings.hostname,
        )
    return context


def connection_parameters(
    settings: AmqpSettings, identity: Mapping[str, Any], context: ssl.SSLContext | None
) -> pika.ConnectionParameters:
    """
    The client library's parameters.

    Args:
        settings: Where the broker is.
        identity: The worker's description; name and instance id become the connection's name.
        context: TLS, or ``None`` for none.
    """
    tls = None if context is None else pika.SSLOptions(context, settings.hostname)
    return pika.ConnectionParameters(
        host=settings.hostname,
        port=settings.port,
        virtual_host=settings.vhost,
        credentials=pika.PlainCredentials(settings.username, settings.password.get_secret_value()),
        heartbeat=settings.heartbeat_seconds,
        ssl_options=tls,
        socket_timeout=CONNECT_TIMEOUT_SECONDS,
        stack_timeout=OPEN_TIMEOUT_SECONDS,
        connection_attempts=1,
        client_properties={
            "connection_name": f"{identity['name']}/{identity['instance_id']}",
            "product": "mcai_worker_sdk",
            "version": str(identity.get("sdk_version", "")),
        },
    )


async def open_connection(settings: AmqpSettings, parameters: pika.ConnectionParameters) -> AmqpConnection:
    """
    Open a connection, once.

    Raises:
        ExchangeError: It did not succeed; names host, port and what to check.
    """
    try:
        return await AmqpConnection.open(parameters, heartbeat_seconds=settings.heartbeat_seconds)
    except AmqpClosed as error:
        raise ExchangeError(explain(error, settings)) from error


def first_delays(retries: int) -> Iterator[float]:
    """Seconds to wait before each retry of the first connection: 2, 4, 6, 8, 10, 10, ..."""
    for number in range(1, retries + 1):
        yield min(number * DELAY_STEP_SECONDS, LONGEST_DELAY_SECONDS)


def later_delays() -> Iterator[float]:
    """Seconds to wait before each attempt after a loss, without end: at once, soon, then as at the start."""
    chance = random.SystemRandom()
    yield chance.uniform(0.0, 0.1)
    seconds = 1.0
    while True:
        yield seconds * (1.0 + chance.uniform(0.0, JITTER))
        seconds = min(seconds + DELAY_STEP_SECONDS, LONGEST_DELAY_SECONDS)


def explain(error: AmqpClosed, settings: AmqpSettings) -> str:
    """What is wrong with a connection that could not be opened, and what to check; holds no secret."""
    where = f"The RabbitMQ server {settings.hostname}:{settings.port}"
    causes = list(causes_of(error))
    for cause in causes:
        text = _explain_cause(cause, where, settings)
        if text is not None:
            return text
    return f"{where} cannot be used: {_last_words(causes)}. Check that it is running and reachable from here."


def _explain_cause(cause: BaseException, where: str, settings: AmqpSettings) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"{where} shows a certificate that is not accepted: {cause.verify_message}. Set AMQP_TLS_CERT to the PEM "
            "file of the authority that signed it, and AMQP_HOSTNAME to a name it was issued for."
        )
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or str(cause)
        return f"{where} does not speak TLS: {reason}. Set AMQP_PORT to the TLS port (5671), or AMQP_TLS to false."
    if isinstance(cause, socket.gaierror):
        return (
            f"The RabbitMQ host name {settings.hostname!r} cannot be resolved: {cause.strerror}. Check AMQP_HOSTNAME."
        )
    if isinstance(cause, ConnectionRefusedError):
        return f"{where} refuses connections: nothing listens there. Check AMQP_HOSTNAME and AMQP_PORT."
    if isinstance(cause, _REFUSED) and "StreamLost" in str(cause):
        return (
            f"{where} closed the connection before it was open. It may be starting or stopping; if this stays, check "
            "AMQP_PORT, and set AMQP_TLS to true when it is the TLS port."
        )
    if isinstance(cause, pika.exceptions.ProbableAuthenticationError):
        return f"{where} refuses the user {settings.username!r} or its password. Check AMQP_USERNAME and AMQP_PASSWORD."
    if isinstance(cause, pika.exceptions.ProbableAccessDeniedError):
        return (
            f"{where} does not let the user {settings.username!r} into the virtual host {settings.vhost!r}: it does "
            "not exist, or the user has no permission for it. Check AMQP_VHOST and the user's permissions."
        )
    if isinstance(cause, _TIMED_OUT):
        return f"{where} does not answer. Check AMQP_HOSTNAME, AMQP_PORT and the network between."
    return None


def _last_words(causes: list[BaseException]) -> str:
    last = causes[-1]
    return str(last) or type(last).__name__


def _trust(context: ssl.SSLContext, certificates: Path) -> None:
    try:
        context.load_verify_locations(cafile=certificates)
    except (OSError, ssl.SSLError) as error:
        raise ExchangeError(
            f"The AMQP_TLS_CERT {str(certificates)!r} cannot be read as PEM certificates: {error}. Set it to the PEM "
            "file of the authority that signed the broker's certificate."
        ) from error
