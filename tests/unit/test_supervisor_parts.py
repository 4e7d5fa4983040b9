"""What the supervisor is made of: identity, metrics, the HTTP endpoint, the black list, the terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import mcai_worker_sdk as mcai
from mcai_worker_sdk.errors import BackendError, MissingExtraError, SettingsError
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor import black_list as black_list_module
from mcai_worker_sdk.supervisor import presentation
from mcai_worker_sdk.supervisor.black_list import BackendBlackList
from mcai_worker_sdk.supervisor.http_endpoint import HttpEndpoint
from mcai_worker_sdk.supervisor.identity import sdk_version, utc_now, worker_identity
from mcai_worker_sdk.supervisor.metrics import DURATION_BUCKETS_SECONDS, WorkerFigures, WorkerState, render_metrics

IDENTITY = {"name": "w", "version": "1.0", "instance_id": "i", "queue_name": "q"}


# Identity


@pytest.fixture
def description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mcai.WorkerDescription:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "w"\nversion = "1.0"\ndescription = "Works."\nlicense = "MIT"\n'
    )
    monkeypatch.chdir(tmp_path)
    return mcai.WorkerDescription(None)


def test_the_identity_is_what_the_worker_says_of_itself(description: mcai.WorkerDescription):
    identity = worker_identity(Settings.load({"AMQP_QUEUE": "job_q"}), description, {"type": "object"})

    assert uuid.UUID(identity["instance_id"]).version == 4
    assert identity == {
        "instance_id": identity["instance_id"],
        "queue_name": "job_q",
        "direct_messaging_queue_name": f"direct_messaging_{identity['instance_id']}",
        "name": "w",
        "label": "w",
        "description": "Works.",
        "version": "1.0",
        "sdk_version": sdk_version(),
        "license": "MIT",
        "parameters": {"type": "object"},
    }


def test_each_start_has_an_identity_of_its_own(description: mcai.WorkerDescription):
    first, second = (worker_identity(Settings.load({}), description, {})["instance_id"] for _ in range(2))

    assert first != second


def test_the_direct_messaging_queue_may_be_named(description: mcai.WorkerDescription):
    identity = worker_identity(Settings.load({"DIRECT_MESSAGING_IDENTIFIER": "studio-1"}), description, {})

    assert identity["direct_messaging_queue_name"] == "direct_messaging_studio-1"


def test_now_is_utc_with_microseconds():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", utc_now())


# Metrics


def samples(figures: WorkerFigures, state: WorkerState) -> dict[tuple[str, str], float]:
    text = render_metrics(figures, state).decode()
    return {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_counted_and_shown():
    figures = WorkerFigures(IDENTITY)
    for seconds in (0.1, 0.2, 7.0, 100_000.0):
        figures.count(JobResult(1, JobState.COMPLETED, execution_duration_seconds=seconds))
    figures.count(failed_result(2, "x", execution_duration_seconds=1.0))
    shown = samples(figures, WorkerState(True, False, {"supervisor": 10, "job": 20}))

    assert shown["mcai_worker_info", "i,w,q,1.0"] == 1
    assert [shown["mcai_jobs_total", state] for state in ("completed", "stopped", "error")] == [4, 0, 1]
    assert [shown["mcai_job_duration_seconds_bucket", bound] for bound in ("0.1", "0.5", "1.0", "5.0", "10.0")] == [
        1, 2, 3, 3, 4
    ]  # fmt: skip
    assert shown["mcai_job_duration_seconds_bucket", "43200.0"] == 4
    assert shown["mcai_job_duration_seconds_bucket", "+Inf"] == shown["mcai_job_duration_seconds_count", ""] == 5
    assert shown["mcai_job_duration_seconds_sum", ""] == pytest.approx(100_008.3)
    assert (shown["mcai_jobs_in_flight", ""], shown["mcai_broker_connected", ""]) == (1, 0)
    assert shown["mcai_resident_memory_bytes", "job"] == 20


def test_the_buckets_rise():
    assert list(DURATION_BUCKETS_SECONDS) == sorted(set(DURATION_BUCKETS_SECONDS))


def test_metrics_without_the_extra_name_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(MissingExtraError, match=r'pip install "mcai-worker-sdk\[metrics\]"'):
        render_metrics(WorkerFigures(IDENTITY), WorkerState(False, True, {}))


# The HTTP endpoint


class Probe:
    """An endpoint on a free port, and what a probe sees of it."""

    def __init__(self, *, ready: bool = True, metrics: Any = lambda: b"mcai_jobs 1\n") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.endpoint = HttpEndpoint("127.0.0.1", self.port, readiness=lambda: (ready, {"job_id": 5}), metrics=metrics)

    async def get(self, path: str) -> tuple[int, str, str]:
        await self.endpoint.start()
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, answer.content_type, await answer.text()
        finally:
            await self.endpoint.close()
            await self.endpoint.close()


async def test_live_is_answered_while_the_loop_turns():
    assert await Probe(ready=False).get("/live") == (200, "application/json", '{"live": true}')


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_ready_says_whether_and_why(ready: bool, status: int):
    answered, _, text = await Probe(ready=ready).get("/ready")

    assert (answered, json.loads(text)) == (status, {"ready": ready, "job_id": 5})


async def test_metrics_are_in_the_text_format():
    assert await Probe().get("/metrics") == (200, "text/plain", "mcai_jobs 1\n")


async def test_metrics_without_the_extra_are_not_implemented():
    def missing() -> bytes:
        raise MissingExtraError("The /metrics endpoint", extra="metrics", missing="prometheus_client")

    status, _, text = await Probe(metrics=missing).get("/metrics")

    assert (status, "mcai-worker-sdk[metrics]" in text) == (501, True)


async def test_another_path_is_not_found():
    assert (await Probe().get("/"))[0] == 404


async def test_a_port_that_is_taken_is_a_settings_error():
    probe = Probe()
    with (
        socket.create_server(("127.0.0.1", probe.port)),
        pytest.raises(SettingsError, match=f"MCAI_HTTP_HOST:MCAI_HTTP_PORT is 127.0.0.1:{probe.port}; expected"),
    ):
        await probe.endpoint.start()
    await probe.endpoint.close()


# The black list


class Backend:
    """A backend that answers as the test says, once for each word; without a word it is away."""

    def __init__(self, *versions: str, listed: set[int] | None = None, left: set[int] | None = None) -> None:
        self.versions = list(versions)
        self.listed = listed or set()
        self.left = left
        self.closed = False
        self.asked = asyncio.Event()

    async def step_flow_version(self) -> str:
        self.asked.set()
        if not self.versions:
            raise BackendError("The backend is away.")
        return self.versions.pop(0)

    async def black_list(self) -> set[int]:
        return self.listed

    async def delete_black_listed(self, job_id: int) -> set[int] | None:
        self.asked.set()
        if job_id == 13:
            raise BackendError("The backend is away.")
        return self.left

    async def close(self) -> None:
        self.closed = True


def black_list_of(backend: Backend) -> tuple[BackendBlackList, list[ev.Event]]:
    events: list[ev.Event] = []
    client: Any = backend
    return BackendBlackList(client, events.append), events


async def test_the_list_is_fetched_at_the_start():
    backend = Backend("1.9.0", listed={1, 2})
    black_list, events = black_list_of(backend)
    await black_list.start()
    await black_list.close()

    assert events == [ev.BlackListFetched(frozenset({1, 2}))]
    assert backend.closed


async def test_an_old_backend_has_no_list(caplog: pytest.LogCaptureFixture):
    black_list, events = black_list_of(Backend("1.8.1", listed={1}))
    await black_list.start()
    await black_list.close()

    assert events == []
    assert "older than 1.8.2 and keeps no black list" in caplog.text


async def test_a_backend_that_is_away_costs_a_warning_and_is_asked_again(caplog: pytest.LogCaptureFixture):
    backend = Backend(listed={7})
    black_list, events = black_list_of(backend)
    await black_list.start()
    assert events == []
    backend.versions = ["1.9.0"]
    backend.asked.clear()
    black_list.fetch()
    await asyncio.wait_for(backend.asked.wait(), 30)
    await black_list.start()
    await black_list.close()

    assert events == [ev.BlackListFetched(frozenset({7}))]
    assert "The black list stays as it is: The backend is away. Next try in 30 s." in caplog.text


async def test_it_is_asked_again_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(black_list_module, "RETRY_SECONDS", 0.001)
    backend = Backend(listed={7})
    black_list, events = black_list_of(backend)
    await black_list.start()
    backend.versions = ["1.9.0"]
    async with asyncio.timeout(30):
        while not events:
            backend.asked.clear()
            await backend.asked.wait()
    await black_list.close()

    assert events == [ev.BlackListFetched(frozenset({7}))]


async def test_a_slow_backend_does_not_keep_the_worker_from_starting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(black_list_module, "FIRST_FETCH_SECONDS", 0.01)

    class Slow(Backend):
        async def black_list(self) -> set[int]:
            await asyncio.Event().wait()
            raise AssertionError

    black_list, events = black_list_of(Slow("1.9.0"))
    await asyncio.wait_for(black_list.start(), 30)
    await black_list.close()

    assert events == []


@pytest.mark.parametrize(("left", "heard"), [({2}, [ev.BlackListFetched(frozenset({2}))]), (None, [])])
async def test_a_deletion_may_bring_a_new_list(left: set[int] | None, heard: list[ev.Event]):
    black_list, events = black_list_of(Backend(left=left))
    black_list.delete(1)
    await black_list.close()

    assert events == heard


async def test_a_deletion_that_fails_is_a_warning_with_the_job(caplog: pytest.LogCaptureFixture):
    black_list, events = black_list_of(Backend())
    black_list.delete(13)
    await black_list.close()

    (record,) = caplog.records
    assert (record.levelno, record.job_id, events) == (logging.WARNING, 13, [])  # type: ignore[attr-defined]


# The terminal


def test_there_is_nothing_to_see_without_a_terminal():
    shown = presentation.make_presentation()
    with shown:
        shown.start(Path("a"))
        shown.progress(5)
        shown.end(None, "x")
        shown.abandon()

    assert isinstance(shown, presentation.NoPresentation)


@pytest.mark.parametrize(("wanted", "rich", "kind"), [
    (True, True, presentation.TerminalPresentation),
    (False, True, presentation.NoPresentation),
    (True, False, presentation.NoPresentation),
])  # fmt: skip
def test_bars_need_a_terminal_rich_and_a_reader(monkeypatch: pytest.MonkeyPatch, wanted: bool, rich: bool, kind: type):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)

    assert type(presentation.make_presentation(wanted=wanted)) is kind
