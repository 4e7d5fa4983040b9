"""Opening a connection: parameters, TLS, what to say when it fails, when to try again."""

from __future__ import annotations

import random
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika  # type: ignore[import-untyped]
import pika.exceptions  # type: ignore[import-untyped]

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.rabbitmq.adapter import TuningError
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpClosed, AmqpConnection
from mcai_worker_sdk.exchange.rabbitmq.reply_codes import ReplyCode
from mcai_worker_sdk.logs import get_logger

if TYPE_CHECKING:
    from mcai_worker_sdk.settings import AmqpSettings

__all__ = [
    "address",
    "connection_parameters",
    "explain",
    "explain_setup",
    "first_delays",
    "later_delays",
    "open_connection",
    "tls_context",
]

_log = get_logger(__name__)

#: Longest wait for TCP, and for TCP, TLS and AMQP together, seconds.
CONNECT_TIMEOUT_SECONDS = 10.0
OPEN_TIMEOUT_SECONDS = 20.0
#: Delays between attempts grow by this step up to the longest one, seconds; those of the reference.
DELAY_STEP_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 10.0
#: Part of a delay that is left to chance, so that a hundred workers do not come back in the same instant.
JITTER = 0.2
#: How much of a worker's name is in its connection's name, characters.
MAX_NAME = 200

#: How pika says that the broker closed the connection without a word, by the stage it was in.
_CUT_OFF = (
    pika.exceptions.IncompatibleProtocolError,
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
    pika.exceptions.StreamLostError,
)
#: Why OpenSSL does not accept a certificate, by its numbers (``x509_vfy.h``): no way to a trusted authority, and a host
#: or an address that it was not issued for. Whatever else it says is about the certificate itself.
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})


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
    tls = None if context is None else pika.SSLOptions(context, _name_on_certificate(settings))
    return pika.ConnectionParameters(
        host=_host(settings),
        port=settings.port,
        virtual_host=settings.vhost,
        credentials=pika.PlainCredentials(settings.username, settings.password.get_secret_value()),
        heartbeat=settings.heartbeat_seconds,
        ssl_options=tls,
        socket_timeout=CONNECT_TIMEOUT_SECONDS,
        stack_timeout=OPEN_TIMEOUT_SECONDS,
        connection_attempts=1,
        client_properties={
            # Before the sizes of frames are negotiated, a broker takes 4 KiB.
            "connection_name": f"{identity['name'][:MAX_NAME]}/{identity['instance_id']}",
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
    where = f"The RabbitMQ server {address(settings)}"
    cause = error.__cause__ or error
    if error.code is not None:
        return _explain_refusal(error, where, settings)
    if isinstance(cause, OSError):
        return _explain_network(cause, where, settings)
    if isinstance(cause, _CUT_OFF):
        return (
            f"{where} closed the connection before it was open. It may be starting or stopping; if this stays, check "
            "AMQP_PORT, and set AMQP_TLS to true when it is the TLS port."
        )
    return f"{where} cannot be used: {_words(error)}. {_remedy(error, settings)}"


def explain_setup(error: AmqpClosed, settings: AmqpSettings) -> str:
    """What is wrong where a connection was open, and its channels, exchanges and queues could not be had."""
    return (
        f"The RabbitMQ server {address(settings)} refused to set up the worker's queues in virtual host "
        f"{settings.vhost!r}: {_words(error)}. {_remedy(error, settings)}"
    )


def _explain_refusal(error: AmqpClosed, where: str, settings: AmqpSettings) -> str:
    """The broker answered, and closed the connection with a reason."""
    if _names_a_limit(error):
        return f"{where} refuses the connection: {_words(error)}. {_remedy(error, settings)}"
    if error.code == ReplyCode.ACCESS_REFUSED:
        return (
            f"{where} refuses the user {settings.username!r} or its password: {_words(error)}. Check AMQP_USERNAME and "
            "AMQP_PASSWORD."
        )
    if error.code == ReplyCode.NOT_ALLOWED:
        return (
            f"{where} does not let the user {settings.username!r} into the virtual host {settings.vhost!r}: "
            f"{_words(error)}. Check AMQP_VHOST, and that the user has permissions for it."
        )
    return f"{where} refuses the connection: {_words(error)}. {_remedy(error, settings)}"


def _explain_network(cause: OSError, where: str, settings: AmqpSettings) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        return f"{where} shows a certificate that is not accepted: {reason}. {_certificate_remedy(cause)}"
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or str(cause)
        return f"{where} does not speak TLS: {reason}. Set AMQP_PORT to the TLS port (5671), or AMQP_TLS to false."
    if isinstance(cause, socket.gaierror):
        return (
            f"The RabbitMQ host name {settings.hostname!r} cannot be resolved: {cause.strerror}. Check AMQP_HOSTNAME."
        )
    if isinstance(cause, ConnectionRefusedError):
        return f"{where} refuses connections: nothing listens there. Check AMQP_HOSTNAME and AMQP_PORT."
    if isinstance(cause, TimeoutError):
        return f"{where} does not answer. Check AMQP_HOSTNAME, AMQP_PORT and the network between."
    return f"{where} cannot be used: {cause}. Check that it is running and reachable from here."


def _certificate_remedy(cause: ssl.SSLCertVerificationError) -> str:
    if cause.verify_code in _UNTRUSTED:
        return "Set AMQP_TLS_CERT to the PEM file of the authority that signed it."
    if cause.verify_code in _OTHER_NAME:
        return "Set AMQP_HOSTNAME to a name it was issued for."
    return (
        "The certificate of the broker, or that of the authority that signed it, must be issued again: valid now, and "
        "with the extensions of RFC 5280, which Python asks for from 3.13 on."
    )


def _words(error: AmqpClosed) -> str:
    """What was said, by the broker or here, as a part of a sentence."""
    return str(error).rstrip(".")


def _names_a_limit(error: AmqpClosed) -> bool:
    """Whether the broker's words are about one of its limits: of connections, channels, queues, exchanges."""
    return re.search(r"\blimit\b", str(error)) is not None


def _remedy(error: AmqpClosed, settings: AmqpSettings) -> str:
    if _names_a_limit(error):
        return "Raise that limit at the broker, or end or delete what else it counts."
    if error.code == ReplyCode.ACCESS_REFUSED:
        return f"Check the permissions of the user {settings.username!r}."
    if isinstance(error.__cause__, TuningError):
        return "Raise it in the broker's configuration."
    return "The broker's log may say more."


def _host(settings: AmqpSettings) -> str:
    """The host as the system takes it: an IPv6 address may be written in brackets, as in a URL."""
    return re.sub(r"^\[(.*:.*)\]$", r"\1", settings.hostname)


def address(settings: AmqpSettings) -> str:
    """Host and port as people write them."""
    host = _host(settings)
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def _name_on_certificate(settings: AmqpSettings) -> str:
    """An IPv6 address may name the interface by which it is reached; a certificate does not."""
    return _host(settings).partition("%")[0]


def _trust(context: ssl.SSLContext, certificates: Path) -> None:
    try:
        context.load_verify_locations(cafile=certificates)
    except (OSError, ssl.SSLError) as error:
        raise ExchangeError(
            f"The AMQP_TLS_CERT {str(certificates)!r} cannot be read as PEM certificates: {error}. Set it to the PEM "
            "file of the authority that signed the broker's certificate."
        ) from error
