"""The exchange on RabbitMQ: one connection at a time, kept up, with three channels (publishing, jobs, direct)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.exchange.base import ExchangeEvent, ExchangeFailed
from mcai_worker_sdk.exchange.rabbitmq.client import AmqpChannel, AmqpClosed, AmqpConnection
from mcai_worker_sdk.exchange.rabbitmq.connection import (
    address,
    connection_parameters,
    explain_setup,
    first_delays,
    later_delays,
    open_connection,
    tls_context,
)
from mcai_worker_sdk.exchange.rabbitmq.consumers import ConsumerLane, RabbitDelivery, settle
from mcai_worker_sdk.exchange.rabbitmq.counts import copied_headers
from mcai_worker_sdk.exchange.rabbitmq.publisher import Publisher
from mcai_worker_sdk.exchange.rabbitmq.reply_codes import ReplyCode
from mcai_worker_sdk.exchange.rabbitmq.topology import (
    JOB_DELAYED,
    MismatchError,
    Topology,
    declare_return_path,
    declare_shared,
    make_topology,
)
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import Progression, Response

if TYPE_CHECKING:
    from mcai_worker_sdk.settings import AmqpSettings

__all__ = ["RabbitMQExchange"]

_log = get_logger(__name__)

JOBS_CONSUMER_TAG = "amqp_worker"
DIRECT_CONSUMER_TAG = "status_amqp_worker"
#: Longest wait for the broker's farewell, seconds.
CLOSE_TIMEOUT_SECONDS = 2.0
#: A connection that lived longer than this starts the series of delays anew, seconds.
SETTLED_SECONDS = 5.0
#: Wait between attempts to take an exclusive direct queue that the broker still holds for the lost connection, seconds.
LOCKED_DELAY_SECONDS = 2.0
#: How often everything is declared again, seconds: of a binding or an idle queue that is gone nothing tells.
REDECLARE_SECONDS = 30.0


class RabbitMQExchange:
    """
    Orders from RabbitMQ, responses to it (the port is :class:`mcai_worker_sdk.exchange.base.Exchange`).

    The three channels die apart: an acknowledgement time-out on the job queue leaves direct messages and publishing
    untouched. Events come from the event loop, never from within a method.
    """

    def __init__(self, settings: AmqpSettings, *, identity: Mapping[str, Any], now: Callable[[], str]) -> None:
        """
        Args:
            settings: Where the broker is and how to talk to it.
            identity: The worker's description; ``instance_id``, ``queue_name``, ``direct_messaging_queue_name``,
                ``name`` and ``version`` are used.
            now: The ``datetime`` of a published message.
        """
        self._settings = settings
        self._identity = identity
        self._publisher = Publisher(delivery_mode=settings.delivery_mode, now=now)
        self._jobs = ConsumerLane(Lane.JOBS, consumer_tag=JOBS_CONSUMER_TAG, on_delivery=self._deliver)
        self._direct = ConsumerLane(Lane.DIRECT, consumer_tag=DIRECT_CONSUMER_TAG, on_delivery=self._deliver)
        self._tls: ssl.SSLContext | None = None
        self._connection: AmqpConnection | None = None
        self._publishing: AmqpChannel | None = None
        self._exclusive_direct = False
        self._wants_jobs = False
        self._up = False
        self._opened = False
        self._held: list[RabbitDelivery] = []
        self._delays = later_delays()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self._on_event: Callable[[ExchangeEvent], None] = _ignore
        self._announce: Callable[[], Awaitable[None]] = _nothing

    async def open(self, on_event: Callable[[ExchangeEvent], None], announce: Callable[[], Awaitable[None]]) -> None:
        """
        Connect, declare, announce, consume direct messages; tries again up to ``AMQP_CONNECTION_MAX_RETRY`` times.

        Raises:
            ExchangeError: The broker cannot be used; names host, port, vhost or queue and the remedy.
        """
        self._on_event = on_event
        self._announce = announce
        if self._settings.tls:
            self._tls = tls_context(self._settings)
        delays = first_delays(self._settings.connection_max_retry)
        while True:
            try:
                await self._establish()
                break
            except MismatchError:
                raise
            except ExchangeError as error:
                delay = next(delays, None)
                if delay is None:
                    raise
                _log.warning("%s Next attempt in %.0f s.", error, delay)
                await asyncio.sleep(delay)
        # Not from within this method: deliveries that came in meanwhile follow once the caller has us opened.
        asyncio.get_running_loop().call_soon(self._set_up)
        self._keeper = asyncio.create_task(self._keep(), name="rabbitmq-keeper")
        self._keeper.add_done_callback(self._keeper_ended)

    async def publish(self, response: Response) -> None:
        """
        Publish and wait until the broker confirmed, over as many connections as it takes.

        Raises:
            MessageRefusedError: The broker will never take it.
            ExchangeError: The exchange was closed before the confirmation.
        """
        await self._publisher.publish(response)

    def publish_progression(self, response: Response) -> None:
        """
        Publish without waiting; the newest unsent progression of a job replaces an older one.

        Raises:
            TypeError: ``response`` is not a progression.
        """
        if not isinstance(response, Progression):
            raise TypeError(f"The response is a {type(response).__name__}; expected a Progression. Use publish().")
        self._publisher.publish_progression(response)

    async def delay(self, delivery: Delivery, count: Count) -> None:
        """
        Publish a copy of an order, one of its counts raised, to come back to the job queue after 5 s.

        It returns once a queue has taken the copy, over as many connections as it takes: what is missing on its way is
        declared again. The original still has to be settled.

        Raises:
            MessageRefusedError: The broker will never take it.
            ExchangeError: The exchange was closed before the confirmation.
        """
        assert isinstance(delivery, RabbitDelivery)
        headers = copied_headers(delivery, count)
        queue_name = self._identity["queue_name"]
        for seconds in later_delays():
            await self._declare_delay()
            if await self._publisher.publish_copy(JOB_DELAYED, queue_name, delivery.body, delivery.properties, headers):
                return
            _log.warning("No delay queue takes the order's copy; it is declared again.")
            await asyncio.sleep(seconds)

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge a delivery; one of a lost link is left with a log line."""
        assert isinstance(delivery, RabbitDelivery)
        settle(delivery)

    async def consume_jobs(self) -> None:
        """
        Start, or go on, taking orders, one unsettled order at a time. Idempotent; remembered over reconnections.

        Raises:
            ExchangeError: The broker does not let this user read the job queue.
        """
        self._wants_jobs = True
        try:
            await self._jobs.consume()
        except AmqpClosed as closed:
            if closed.code == ReplyCode.ACCESS_REFUSED:
                raise ExchangeError(
                    f"The job queue {self._identity['queue_name']!r} of virtual host {self._settings.vhost!r} cannot "
                    f"be consumed: {closed}. Check the permissions of the user {self._settings.username!r}."
                ) from closed

    async def pause_jobs(self) -> None:
        """Take no more orders. One that is on its way may still arrive. Idempotent; survives reconnections."""
        self._wants_jobs = False
        await self._jobs.pause()

    async def close(self) -> None:
        """Close the connection within two seconds; what is unsettled goes back to the queue. Idempotent."""
        self._closed = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._leave(connection)
        self._publisher.close()

    async def _leave(self, connection: AmqpConnection) -> None:
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT_SECONDS
        channel = self._publishing
        if self._settings.server_configuration == "cluster" and channel is not None and channel.is_open:
            # A durable direct queue would stay for ever and collect every broadcast: nothing else deletes it.
            with contextlib.suppress(AmqpClosed, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS / 2):
                    await channel.delete_queue(self._identity["direct_messaging_queue_name"])
        await connection.close(max(0.1, deadline - asyncio.get_running_loop().time()))

    # Coming up -----------------------------------------------------------------------------------------------------

    async def _establish(self) -> None:
        """Open a connection and everything on it, once; on failure nothing of it is left."""
        parameters = connection_parameters(self._settings, self._identity, self._tls)
        connection = await open_connection(self._settings, parameters)
        connection.on_blocked(self._publisher.set_blocked)
        self._held.clear()
        was_exclusive = self._exclusive_direct
        try:
            await self._bring_up(connection)
        except AmqpClosed as closed:
            await connection.drop("Coming up failed.")
            if self._exclusive_direct is not was_exclusive:
                await self._establish()
                return
            raise ExchangeError(explain_setup(closed, self._settings)) from closed
        except BaseException:
            await connection.drop("Coming up failed.")
            raise
        self._connection = connection
        _log.info(
            "Connected to RabbitMQ %s at %s, virtual host %s.",
            connection.server_properties.get("version", "of unknown version"),
            address(self._settings),
            self._settings.vhost,
        )

    async def _bring_up(self, connection: AmqpConnection) -> None:
        topology = self._topology(connection)
        await self._start_publishing(connection)
        await self._jobs.start(connection, topology.jobs, vhost=self._settings.vhost)
        await self._start_direct(connection)
        assert self._publishing is not None
        await _unless(self._publishing.closed, self._announce())
        await self._direct.consume()
        if self._wants_jobs:
            await self._jobs.consume()

    async def _start_publishing(self, connection: AmqpConnection) -> None:
        self._publishing = None
        channel = await connection.channel()
        await declare_shared(channel, self._topology(connection), vhost=self._settings.vhost)
        await self._publisher.attach(channel)
        self._publishing = channel

    async def _start_direct(self, connection: AmqpConnection) -> None:
        try:
            await self._direct.start(connection, self._topology(connection).direct, vhost=self._settings.vhost)
        except AmqpClosed as closed:
            if closed.code == ReplyCode.INTERNAL_ERROR:
                # The broker permits no transient queue that is not exclusive (RabbitMQ 4.3 and later, or by policy).
                self._exclusive_direct = True
            # After a loss the broker may hold the exclusive queue for the dead connection until its heartbeat runs
            # out. Jobs need not wait for that: the keeper goes on asking.
            if closed.code != ReplyCode.RESOURCE_LOCKED or not self._opened:
                raise
            _log.warning("The direct queue is still held for the lost connection: %s", closed)

    def _topology(self, connection: AmqpConnection) -> Topology:
        return make_topology(
            self._identity,
            cluster=self._settings.server_configuration == "cluster",
            consumer_timeout_ms=self._settings.consumer_timeout_ms,
            version=connection.server_version,
            exclusive_direct=self._exclusive_direct,
        )

    # Staying up ----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Notice what is lost and bring it back, until the exchange is closed."""
        while True:
            assert self._connection is not None
            await self._watch(self._connection)
            await self._reconnect()

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled():
            return
        error = keeper.exception()
        if not isinstance(error, ExchangeError):
            _log.error("The RabbitMQ exchange failed.", exc_info=error)
            error = ExchangeError(f"The RabbitMQ exchange failed: {error!r}. Please report this with the log.")
        self._on_event(ExchangeFailed(error))

    async def _watch(self, connection: AmqpConnection) -> None:
        """
        Keep the three channels of a connection, and what is declared; returns when the connection is gone.

        Raises:
            MismatchError: A queue was declared anew by someone else, with other arguments.
        """
        since = asyncio.get_running_loop().time()
        lanes = (
            self._keep_jobs(connection),
            self._keep_direct(connection),
            self._keep_publishing(connection),
            self._keep_declared(connection),
        )
        keepers = [asyncio.create_task(self._guard(connection, lane)) for lane in lanes]
        try:
            waiting: set[asyncio.Future[Any]] = {connection.closed, *keepers}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
            self._set_down(str(connection.closed.result()))
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            self._publisher.detach()
        if asyncio.get_running_loop().time() - since > SETTLED_SECONDS:
            self._delays = later_delays()

    async def _guard(self, connection: AmqpConnection, lane: Coroutine[Any, Any, None]) -> None:
        """A channel that cannot be brought back takes its connection down, and all begins anew with delays."""
        try:
            await lane
        except AmqpClosed as closed:
            connection.abort(str(closed))
            await asyncio.shield(connection.closed)

    async def _keep_jobs(self, connection: AmqpConnection) -> None:
        while True:
            reason = await _loss_of(self._jobs.lost, connection)
            self._set_down(str(reason))
            self._held.clear()
            await self._jobs.start(connection, self._topology(connection).jobs, vhost=self._settings.vhost)
            if self._wants_jobs:
                await self._jobs.consume()
            self._set_up()

    async def _keep_direct(self, connection: AmqpConnection) -> None:
        while True:
            if self._direct.channel is None:
                await asyncio.sleep(LOCKED_DELAY_SECONDS)
            else:
                reason = await _loss_of(self._direct.lost, connection)
                _log.warning("The channel of the direct queue is lost and opened again: %s", reason)
            await self._start_direct(connection)
            await self._direct.consume()

    async def _keep_publishing(self, connection: AmqpConnection) -> None:
        delays = later_delays()
        while True:
            assert self._publishing is not None
            reason = await _loss_of(self._publishing.closed, connection)
            self._publisher.detach(reason)
            _log.warning("The publishing channel is lost and opened again: %s", reason)
            await asyncio.sleep(next(delays))
            await self._start_publishing(connection)

    async def _keep_declared(self, connection: AmqpConnection) -> None:
        topology = self._topology(connection)
        while True:
            await asyncio.sleep(REDECLARE_SECONDS)
            # A channel that closes for it is its own keeper's to bring back.
            with contextlib.suppress(AmqpClosed):
                if self._publishing is not None and not self._publisher.is_blocked:
                    await declare_shared(self._publishing, topology, vhost=self._settings.vhost)
                    await self._jobs.declare_again(topology.jobs, vhost=self._settings.vhost)
                    await self._direct.declare_again(topology.direct, vhost=self._settings.vhost)

    async def _declare_delay(self) -> None:
        """See to it that an order's copy finds its way to the delay queue and back."""
        connection, channel = self._connection, self._publishing
        if connection is None or channel is None or self._publisher.is_blocked:
            return
        # What cannot be declared closes the channel, and its keeper says why.
        with contextlib.suppress(AmqpClosed, MismatchError):
            await declare_return_path(channel, self._topology(connection), vhost=self._settings.vhost)

    async def _reconnect(self) -> None:
        self._connection = None
        while True:
            await asyncio.sleep(next(self._delays))
            try:
                await self._establish()
                break
            except MismatchError:
                raise
            except ExchangeError as error:
                _log.warning("%s Trying again.", error)
        self._set_up()

    # Events --------------------------------------------------------------------------------------------------------

    def _deliver(self, delivery: RabbitDelivery) -> None:
        if self._up:
            self._on_event(ev.read_delivery(delivery))
        else:
            self._held.append(delivery)

    def _set_up(self) -> None:
        if self._closed or self._up:
            return
        self._up = True
        if self._opened:
            _log.info("The link to RabbitMQ is restored.")
            self._on_event(ev.LinkRestored())
        self._opened = True
        held, self._held = self._held, []
        for delivery in held:
            self._on_event(ev.read_delivery(delivery))

    def _set_down(self, reason: str) -> None:
        if self._up:
            self._up = False
            _log.warning("The link to RabbitMQ is lost: %s", reason)
            self._on_event(ev.LinkLost(reason))


async def _loss_of(lost: asyncio.Future[AmqpClosed] | None, connection: AmqpConnection) -> AmqpClosed:
    """Wait until a channel is lost while its connection lives; when both are gone, raise the reason."""
    assert lost is not None
    reason = await asyncio.shield(lost)
    if not connection.is_open:
        raise reason
    return reason


async def _unless(closed: asyncio.Future[AmqpClosed], work: Awaitable[None]) -> None:
    """Wait for ``work``, but no longer than the channel lives: what publishes would wait for the next one."""
    task = asyncio.ensure_future(work)
    waiting: set[asyncio.Future[Any]] = {task, closed}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise closed.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    task.result()


def _ignore(_event: ExchangeEvent) -> None:
    """Nobody listens before ``open``."""


async def _nothing() -> None:
    """Nothing is announced before ``open``."""
