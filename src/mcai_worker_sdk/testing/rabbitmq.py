"""A private RabbitMQ node on free loopback ports, for tests that want the real broker."""

from __future__ import annotations

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
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcai_worker_sdk.testing.guard import Guard

__all__ = ["SCRIPTS", "NodeApi", "PrivateNode", "VirtualHost", "free_port", "rabbitmq_is_installed"]

#: Where Debian puts RabbitMQ's scripts that run as the calling user (those in /usr/sbin change the user);
#: ``RABBITMQ_SCRIPTS`` names those of another version.
SCRIPTS = Path(os.environ.get("RABBITMQ_SCRIPTS", "/usr/lib/rabbitmq/bin"))
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
#: Between two questions whether the node is ready, in seconds.
ASK_SECONDS = 0.1


def rabbitmq_is_installed() -> bool:
    """True when a private node can be started here."""
    return (SCRIPTS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """One test's own virtual host, with a user of its own name."""

    name: str
    username: str
    password: str
    port: int
    """AMQP without TLS, on 127.0.0.1."""

    def environment(self, queue: str) -> dict[str, str]:
        """The variables of a worker that takes its orders from a queue of this virtual host."""
        return {
            "AMQP_HOSTNAME": "127.0.0.1",
            "AMQP_PORT": str(self.port),
            "AMQP_USERNAME": self.username,
            "AMQP_PASSWORD": self.password,
            "AMQP_VHOST": self.name,
            "AMQP_QUEUE": queue,
            "AMQP_TLS": "false",
        }


class NodeApi:
    """The management plugin's HTTP API, as far as a node of one's own needs it. Blocking, for milliseconds."""

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
        request = urllib.request.Request(f"{self._base}{path}", data=data, method=method)  # noqa: S310 - http, see above
        request.add_header("Authorization", self._authorization)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the same
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


class PrivateNode:
    """
    One RabbitMQ node with its own directories, cookie, node name, epmd and ports. It ends with this process.

    Blocking: from a running event loop, call ``stop`` and ``restart`` through ``asyncio.to_thread``.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.management_port = free_port()
        self.api = NodeApi(self.management_port)
        self.directory = Path(tempfile.mkdtemp(prefix="rabbitmq-test-"))
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
            self._epmd = subprocess.Popen(  # noqa: S603 - what was found on the path
                [str(shutil.which("epmd")), "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._guards[self._epmd.pid] = Guard(self._epmd.pid)
        output = (self.directory / "console.log").open("ab")
        with output:
            self._server = subprocess.Popen(  # noqa: S603 - the server's own script
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
        return [
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
        pause = threading.Event()
        while time.monotonic() < deadline:
            if server.poll() is not None:
                console = (self.directory / "console.log").read_text(errors="replace")
                raise RuntimeError(f"The RabbitMQ node ended with {server.returncode}:\n{console}\n{self.log[-4000:]}")
            # No event tells an outside process that a node is ready: asking is the way.
            with contextlib.suppress(OSError, urllib.error.URLError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                self.api.request("GET", "/overview")
                return
            pause.wait(ASK_SECONDS)
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
