"""The worker is configured wrongly: one sentence that names what, the documented retries, and an exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.faults.kit import Scene
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import eventually, free_port
from tests.support.tls import Authority
from tests.support.workers import WorkerProcess

NO_RETRY = {"AMQP_CONNECTION_MAX_RETRY": "0"}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"AMQP_HOSTNAME": "no-such-host.invalid"}, ["'no-such-host.invalid' cannot be resolved", "AMQP_HOSTNAME"]),
        ({"AMQP_PASSWORD": "wr0ng-secret"}, ["or its password", "AMQP_USERNAME and AMQP_PASSWORD"]),
        ({"AMQP_USERNAME": "nobody"}, ["refuses the user 'nobody'", "AMQP_USERNAME and AMQP_PASSWORD"]),
        ({"AMQP_VHOST": "nowhere"}, ["virtual host 'nowhere'", "AMQP_VHOST"]),
    ],
    ids=["host", "password", "user", "vhost"],
)
async def test_what_is_wrong_is_named(scene: Scene, environment: dict[str, str], named: list[str]):
    async with scene.worker(**NO_RETRY, **environment) as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert "The worker cannot start" in worker.log
        assert [text for text in named if text not in worker.log] == []
        assert "wr0ng-secret" not in worker.log
        assert scene.host.password not in worker.log
        assert "Traceback" not in worker.log


async def test_a_dependency_of_another_version_is_named_before_anything_is_connected(scene: Scene, tmp_path: Path):
    for name, version in {"pika": "1.2.0", "h11": "0.9.0"}.items():
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    async with scene.worker(PYTHONPATH=str(tmp_path)) as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        [line] = worker.log.splitlines()
        assert exit_code == 1
        assert line.startswith("The worker cannot start. The installed h11 is 0.9.0; expected >=")
        assert " The installed pika is 1.2.0; expected >=" in line
        remedy = shlex.split(line.partition(" Install a supported version with: ")[2])
        assert remedy[:2] == ["pip", "install"]
        assert {Requirement(argument).name for argument in remedy[2:]} == {"h11", "pika"}
        assert scene.tap.out() == []


async def test_a_wrong_port_is_tried_again_as_often_as_allowed(scene: Scene):
    port = free_port()
    async with scene.worker(port=port, AMQP_CONNECTION_MAX_RETRY="1") as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert worker.log.count(f"127.0.0.1:{port} refuses connections") == 2
        assert "Next attempt in 2 s." in worker.log
        assert "Check AMQP_HOSTNAME and AMQP_PORT." in worker.log


@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        ({"configure": "^$"}, "exchange 'job_submit'"),
        ({"write": "^(?!job_response$).*"}, "exchange 'job_response'"),
        ({"read": "^(?!job_test$).*"}, "queue 'job_test'"),
    ],
    ids=["configure", "write", "read"],
)
async def test_a_missing_permission_ends_the_worker(scene: Scene, permissions: dict[str, str], named: str):
    scene.node.api.set_permissions(scene.host.name, scene.host.username, **permissions)
    async with scene.worker(**NO_RETRY) as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert "403 ACCESS_REFUSED" in worker.log
        assert named in worker.log
        assert f"Check the permissions of the user '{scene.host.username}'." in worker.log
        assert "Traceback" not in worker.log


async def test_a_worker_started_before_its_broker_waits_for_it(scene: Scene):
    async with TcpProxy(scene.host.port) as proxy:
        proxy.cut()
        async with scene.worker(port=proxy.port) as worker:
            await eventually(lambda: "Next attempt in 2 s." in worker.log, bool)
            proxy.resume()
            await worker.created(scene.tap)
            await scene.works()
            await scene.leaves_nothing(worker)


async def test_a_malformed_variable_is_named_before_anything_is_connected(scene: Scene):
    async with scene.worker(AMQP_PORT="amqp", MESSAGE_TTL_LIMIT="-1") as worker:
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert "The environment variable AMQP_PORT is 'amqp'; expected a whole number from 1 to 65535" in worker.log
        assert "MESSAGE_TTL_LIMIT is '-1'" in worker.log


@pytest.mark.parametrize(
    "code", ["raise RuntimeError('no model')", "sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), 9)"]
)
async def test_a_setup_that_fails_ends_the_worker_with_an_exit_code(scene: Scene, code: str):
    async with scene.worker(TEST_SETUP_CODE=code) as worker:
        exit_code = await worker.ended(timeout_seconds=15)
        await scene.tap.wait_for("worker_terminated")

        assert exit_code == 1
        assert "The worker cannot run jobs: " in worker.log
    assert scene.tap.keys() == ["worker_discovery", "worker_terminated"]


# TLS


def tls_worker(scene: Scene, port: int, **environment: str) -> WorkerProcess:
    return scene.worker(port=port, AMQP_TLS="true", **{**NO_RETRY, **environment})


async def test_tls_with_the_authority_given_works(scene: Scene, authority: Authority):
    async with tls_worker(scene, scene.node.tls_port, AMQP_TLS_CERT=str(authority.file)) as worker:
        await worker.created(scene.tap)
        await scene.works()
        (connection,) = await scene.connections()

        assert connection["ssl"] is True
        assert "is not verified" not in worker.log
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize(
    ("kind", "trusted", "reason", "remedy"),
    [
        ("good", False, "unable to get local issuer certificate", "Set AMQP_TLS_CERT to"),
        ("expired", True, "certificate has expired", "must be issued again"),
        ("wrong_host", True, "IP address mismatch, certificate is not valid for '127.0.0.1'", "Set AMQP_HOSTNAME to"),
        ("self_signed", True, "self-signed certificate", "Set AMQP_TLS_CERT to"),
    ],
)
async def test_a_certificate_that_cannot_be_trusted_ends_the_worker(
    scene: Scene, authority: Authority, kind: str, trusted: bool, reason: str, remedy: str
):
    certificate = getattr(authority, kind)()
    environment = {"AMQP_TLS_CERT": str(authority.file)} if trusted else {}
    async with (
        TcpProxy(scene.host.port, tls=certificate.server_context()) as proxy,
        tls_worker(scene, proxy.port, **environment) as worker,
    ):
        exit_code = await worker.ended(timeout_seconds=15)

        assert exit_code == 1
        assert "shows a certificate that is not accepted" in worker.log
        assert reason in worker.log.replace("self signed", "self-signed")
        assert remedy in worker.log
    assert scene.tap.keys() == []


async def test_verification_turned_off_connects_and_warns(scene: Scene, authority: Authority):
    async with (
        TcpProxy(scene.host.port, tls=authority.self_signed().server_context()) as proxy,
        tls_worker(scene, proxy.port, AMQP_TLS_VERIFY="false") as worker,
    ):
        await worker.created(scene.tap)
        await scene.works()

        assert "AMQP_TLS_VERIFY is false: the certificate of 127.0.0.1 is not verified" in worker.log
        await scene.leaves_nothing(worker)


async def test_tls_against_a_plain_port_is_named(scene: Scene):
    async with tls_worker(scene, scene.host.port) as worker:
        assert await worker.ended(timeout_seconds=15) == 1
        assert "AMQP_TLS to false" in worker.log


async def test_plain_against_a_tls_port_is_named(scene: Scene):
    async with scene.worker(port=scene.node.tls_port, **NO_RETRY) as worker:
        assert await worker.ended(timeout_seconds=15) == 1
        assert "set AMQP_TLS to true" in worker.log
