"""A private RabbitMQ node on free loopback ports, its management API, and a tap that records what is published."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tests.support.guard import Guard

__all__ = ["ManagementApi", "RabbitMqNode", "VirtualHost", "eventually", "free_port", "rabbitmq_is_installed"]

#: Where Debian puts RabbitMQ's scripts that run as the calling user (those in /usr/sbin change the user);
#: ``RABBITMQ_SCRIPTS`` names those of another version.
SCRIPTS = Path(os.environ.get("RABBITMQ_SCRIPTS", "/usr/lib/rabbitmq/bin"))
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0

T = TypeVar("T")


def rabbitmq_is_installed() -> bool:
    """True when a private node can be started here."""
    return (SCRIPTS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """One test's own virtual host, with a user of its own name."""

    name: str
    username: str
    password: str
    port: int
    """AMQP without TLS, on 127.0.0.1."""


class ManagementApi:
    """The management plugin's HTTP API, as far as the tests need it. Blocking; each call takes milliseconds."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api"
        self._authorization = "Basic " + base64.b64encode(b"guest:guest").decode()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """
        Call the API.

        Args:
            method: HTTP method.
            path: Below ``/api``, its parts already quoted (see :meth:`quote`).
            body: Sent as JSON.

        Returns:
            The decoded answer, ``None`` when it has no body.

        Raises:
            urllib.error.HTTPError: The API answered 4xx or 5xx.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}{path}", data=data, method=method)
        request.add_header("Authorization", self._authorization)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            # It holds the connection, and Python 3.14 warns of one that nobody closed.
            error.close()
            raise
        return json.loads(content) if content else None

    @staticmethod
    def quote(name: str) -> str:
        """A name as one part of a path (the default exchange is called ``amq.default`` there)."""
        return urllib.parse.quote(name, safe="")

    def create_vhost(self, name: str, *, username: str, password: str) -> None:
        """Create a virtual host and a user who may do everything in it."""
        self.request("PUT", f"/vhosts/{self.quote(name)}", {})
        self.request("PUT", f"/users/{self.quote(username)}", {"password": password, "tags": ""})
        self.set_permissions(name, username)
        self.set_permissions(name, "guest")

    def set_permissions(
        self, vhost: str, username: str, *, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Set what a user may do in a virtual host (regular expressions on names)."""
        permissions = {"configure": configure, "write": write, "read": read}
        self.request("PUT", f"/permissions/{self.quote(vhost)}/{self.quote(username)}", permissions)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it; closes its connections."""
        self.request("DELETE", f"/vhosts/{self.quote(name)}")

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


class RabbitMqNode:
    """
    One RabbitMQ node with its own directories, cookie, node name, epmd and ports.

    Blocking: from a running event loop, call ``stop`` and ``restart`` through ``asyncio.to_thread``.
    """

    def __init__(self, *, consumer_timeout_ms: int | None = None, tls: Mapping[str, Path] | None = None) -> None:
        """
        Args:
            consumer_timeout_ms: Delivery-acknowledgement time-out; ``None`` is RabbitMQ's own (30 minutes).
            tls: ``ca``, ``certificate`` and ``key`` (PEM files) of a TLS listener on ``tls_port``.
        """
        self.port = free_port()
        self.tls_port = free_port()
        self.management_port = free_port()
        self.api = ManagementApi(self.management_port)
        self.directory = Path(tempfile.mkdtemp(prefix="rabbitmq-test-"))
        self._consumer_timeout_ms = consumer_timeout_ms
        self._tls = tls
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guards: dict[int, Guard] = {}
        self._write_files()

    @property
    def log(self) -> str:
        """What the node logged so far."""
        path = self.directory / "log" / "node.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the node and wait until it takes connections."""
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                [str(shutil.which("epmd")), "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._guards[self._epmd.pid] = Guard(self._epmd.pid)
        output = (self.directory / "console.log").open("ab")
        with output:
            self._server = subprocess.Popen(
                [str(SCRIPTS / "rabbitmq-server")],
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guards[self._server.pid] = Guard(self._server.pid)
        self._wait_until_ready(self._server)

    def stop(self) -> None:
        """Stop the node in good order (SIGTERM); durable queues and persistent messages stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the node at once (SIGKILL), as a power failure does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in good order and start again on the same ports with the same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End the node and delete its files."""
        self.kill()
        if self._epmd is not None:
            self._guards.pop(self._epmd.pid).dismiss()
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self.directory, ignore_errors=True)

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

    @contextlib.contextmanager
    def vhost(self) -> Iterator[VirtualHost]:
        """A new virtual host with its own user; deleted at the end."""
        name = f"test-{secrets.token_hex(4)}"
        host = VirtualHost(name=name, username=name, password=secrets.token_urlsafe(9), port=self.port)
        self.api.create_vhost(name, username=host.username, password=host.password)
        try:
            yield host
        finally:
            self.api.delete_vhost(name)
            self.api.request("DELETE", f"/users/{self.api.quote(host.username)}")

    @property
    def _node_name(self) -> str:
        return f"mcai-{self.port}@localhost"

    def _write_files(self) -> None:
        for name in ("log", "data", "config"):
            (self.directory / name).mkdir()
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.directory / "environment.conf").write_text("")
        # The ack time-out is checked at each tick of a channel; there is no key for it in rabbitmq.conf in 3.10.
        (self.directory / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 500}]}].\n")
        (self.directory / "rabbitmq.conf").write_text("\n".join(self._configuration()) + "\n")

    def _configuration(self) -> list[str]:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            f"management.tcp.port = {self.management_port}",
            "management.tcp.ip = 127.0.0.1",
            "collect_statistics_interval = 200",
            "log.file.level = info",
            "log.console = false",
            "disk_free_limit.absolute = 1MB",
            # What 3.10 takes; 4.0 took an eighth of it.
            "max_message_size = 134217728",
        ]
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

    def _environment(self) -> dict[str, str]:
        directory = self.directory
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node_name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": str(directory / "log" / "node.log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "environment.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 2:2",
        }

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if server.poll() is not None:
                console = (self.directory / "console.log").read_text(errors="replace")
                raise RuntimeError(f"The RabbitMQ node ended with {server.returncode}:\n{console}\n{self.log[-4000:]}")
            # No event tells an outside process that a node is ready: asking is the way.
            with contextlib.suppress(OSError, urllib.error.URLError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                self.api.request("GET", "/overview")
                return
            time.sleep(0.1)
        raise RuntimeError(f"The RabbitMQ node is not ready after {START_TIMEOUT_SECONDS:.0f} s:\n{self.log[-4000:]}")

    def _end(self, number: int) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        self._guards.pop(server.pid).dismiss()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        try:
            server.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
