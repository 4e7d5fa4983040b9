"""The suite's RabbitMQ node: what the package starts for authors, with the means to break it and to look inside."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mcai_worker_sdk.testing.rabbitmq import (
    SCRIPTS,
    NodeApi,
    PrivateNode,
    VirtualHost,
    free_port,
    rabbitmq_is_installed,
)

__all__ = [
    "SCRIPTS",
    "ManagementApi",
    "RabbitMqNode",
    "VirtualHost",
    "eventually",
    "free_port",
    "rabbitmq_is_installed",
]

T = TypeVar("T")


async def eventually(read: Callable[[], T], accept: Callable[[T], object], *, timeout_seconds: float = 20.0) -> T:
    """
    Read until the value is accepted, and return it. The management API tells nobody when its figures change.

    Raises:
        AssertionError: It never was; names the last value.
    """
    deadline = time.monotonic() + timeout_seconds
    while not accept(value := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not accepted within {timeout_seconds:.0f} s: {value!r}")
        await asyncio.sleep(0.05)
    return value


class ManagementApi(NodeApi):
    """The management plugin's HTTP API, as far as the tests need it. Blocking; each call takes milliseconds."""

    def connections(self, vhost: str) -> list[dict[str, Any]]:
        """Open connections of a virtual host."""
        found: list[dict[str, Any]] = self.request("GET", f"/vhosts/{self.quote(vhost)}/connections")
        return found

    def close_connection(self, name: str) -> None:
        """Close a client's connection, as an operator does (the client sees 320 CONNECTION_FORCED)."""
        self.request("DELETE", f"/connections/{self.quote(name)}")

    def exchanges(self, vhost: str) -> list[dict[str, Any]]:
        """Exchanges with their arguments; the built-in ones left out."""
        found = self.request("GET", f"/exchanges/{self.quote(vhost)}")
        return [one for one in found if one["name"] and not one["name"].startswith("amq.")]

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """Queues with their arguments."""
        found: list[dict[str, Any]] = self.request("GET", f"/queues/{self.quote(vhost)}")
        return found

    def queue(self, vhost: str, name: str) -> dict[str, Any]:
        """One queue. Its counters lag behind by the node's statistics interval (200 ms here)."""
        found: dict[str, Any] = self.request("GET", f"/queues/{self.quote(vhost)}/{self.quote(name)}")
        return found

    def bindings(self, vhost: str) -> list[dict[str, Any]]:
        """Bindings of a virtual host; those to the default exchange left out."""
        found = self.request("GET", f"/bindings/{self.quote(vhost)}")
        return [one for one in found if one["source"]]

    def consumers(self, vhost: str) -> list[dict[str, Any]]:
        """Consumers of a virtual host."""
        found: list[dict[str, Any]] = self.request("GET", f"/consumers/{self.quote(vhost)}")
        return found

    def declare_queue(
        self, vhost: str, name: str, *, durable: bool = True, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Declare a queue."""
        body = {"durable": durable, "auto_delete": False, "arguments": dict(arguments or {})}
        self.request("PUT", f"/queues/{self.quote(vhost)}/{self.quote(name)}", body)

    def delete_queue(self, vhost: str, name: str) -> None:
        """Delete a queue; its consumers get ``basic.cancel``."""
        self.request("DELETE", f"/queues/{self.quote(vhost)}/{self.quote(name)}")

    def declare_exchange(self, vhost: str, name: str, kind: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Declare a durable exchange."""
        body = {"type": kind, "durable": True, "arguments": dict(arguments or {})}
        self.request("PUT", f"/exchanges/{self.quote(vhost)}/{self.quote(name)}", body)

    def delete_exchange(self, vhost: str, name: str) -> None:
        """Delete an exchange, and its bindings with it."""
        self.request("DELETE", f"/exchanges/{self.quote(vhost)}/{self.quote(name)}")

    def bind(self, vhost: str, exchange: str, queue: str, routing_key: str) -> None:
        """Bind a queue to an exchange."""
        path = f"/bindings/{self.quote(vhost)}/e/{self.quote(exchange)}/q/{self.quote(queue)}"
        self.request("POST", path, {"routing_key": routing_key})

    def unbind(self, vhost: str, exchange: str, queue: str) -> None:
        """Remove every binding of a queue to an exchange."""
        path = f"/bindings/{self.quote(vhost)}/e/{self.quote(exchange)}/q/{self.quote(queue)}"
        for binding in self.request("GET", path):
            self.request("DELETE", f"{path}/{binding['properties_key']}")

    def set_policy(self, vhost: str, pattern: str, definition: Mapping[str, Any]) -> None:
        """Set the virtual host's one policy for queues."""
        body = {"pattern": pattern, "definition": dict(definition), "apply-to": "queues"}
        self.request("PUT", f"/policies/{self.quote(vhost)}/policy", body)

    def set_limit(self, vhost: str, limit: str, value: int | None) -> None:
        """Set, or take back, ``max-connections`` or ``max-queues`` of a virtual host."""
        method = "DELETE" if value is None else "PUT"
        body = None if value is None else {"value": value}
        self.request(method, f"/vhost-limits/{self.quote(vhost)}/{limit}", body)

    def set_user_limit(self, username: str, limit: str, value: int) -> None:
        """Set ``max-connections`` or ``max-channels`` of a user."""
        self.request("PUT", f"/user-limits/{self.quote(username)}/{limit}", {"value": value})

    def publish(
        self,
        vhost: str,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        properties: Mapping[str, Any] | None = None,
    ) -> bool:
        """Publish one message; True when it was routed to a queue."""
        path = f"/exchanges/{self.quote(vhost)}/{self.quote(exchange or 'amq.default')}/publish"
        message = {
            "properties": dict(properties or {}),
            "routing_key": routing_key,
            "payload": base64.b64encode(body).decode(),
            "payload_encoding": "base64",
        }
        return bool(self.request("POST", path, message)["routed"])

    def get(self, vhost: str, queue: str, *, count: int = 100) -> list[dict[str, Any]]:
        """Take messages from a queue; each has ``payload`` (bytes), ``properties``, ``routing_key``, ``exchange``."""
        path = f"/queues/{self.quote(vhost)}/{self.quote(queue)}/get"
        body = {"count": count, "ackmode": "ack_requeue_false", "encoding": "base64"}
        messages: list[dict[str, Any]] = self.request("POST", path, body)
        for message in messages:
            message["payload"] = base64.b64decode(message["payload"])
        return messages


class RabbitMqNode(PrivateNode):
    """A private node with a TLS listener and a time-out of one's own, where wanted."""

    api: ManagementApi

    def __init__(self, *, consumer_timeout_ms: int | None = None, tls: Mapping[str, Path] | None = None) -> None:
        """
        Args:
            consumer_timeout_ms: Delivery-acknowledgement time-out; ``None`` is RabbitMQ's own (30 minutes).
            tls: ``ca``, ``certificate`` and ``key`` (PEM files) of a TLS listener on ``tls_port``.
        """
        self.tls_port = free_port()
        self._consumer_timeout_ms = consumer_timeout_ms
        self._tls = tls
        super().__init__()
        self.api = ManagementApi(self.management_port)

    def evaluate(self, expression: str) -> str:
        """Run an Erlang expression on the node (takes about two seconds)."""
        done = subprocess.run(
            [str(SCRIPTS / "rabbitmqctl"), "-n", self._node_name, "eval", expression],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    @cached_property
    def version(self) -> tuple[int, ...]:
        """The node's own word for its version, as numbers."""
        return tuple(int(number) for number in self.api.request("GET", "/overview")["rabbitmq_version"].split("."))

    @property
    def is_strict(self) -> bool:
        """
        From 4.3 on a transient queue has to be exclusive, so that nobody else may touch it; and classic queues know no
        acknowledgement time-out.
        """
        return self.version >= (4, 3)

    def set_consumer_timeout(self, milliseconds: int) -> None:
        """Set the delivery-acknowledgement time-out of channels opened, or from 4.3 on queues declared, from now on."""
        self.evaluate(f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")

    def set_max_message_size(self, size_bytes: int) -> None:
        """Set the largest message that channels opened from now on take."""
        self.evaluate(
            f"application:set_env(rabbit, max_message_size, {size_bytes}), "
            f"persistent_term:put(max_message_size, {size_bytes})."
        )

    def raise_memory_alarm(self) -> None:
        """Make the node block every publishing connection (``connection.blocked``)."""
        self.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.000001).")

    def clear_memory_alarm(self) -> None:
        """Take the memory alarm back."""
        self.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.4).")

    def _configuration(self) -> list[str]:
        lines = super()._configuration()
        if self._consumer_timeout_ms is not None:
            lines.append(f"consumer_timeout = {self._consumer_timeout_ms}")
        if self._tls is not None:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {self._tls['ca']}",
                f"ssl_options.certfile = {self._tls['certificate']}",
                f"ssl_options.keyfile = {self._tls['key']}",
                "ssl_options.verify = verify_none",
                "ssl_options.fail_if_no_peer_cert = false",
            ]
        return lines
