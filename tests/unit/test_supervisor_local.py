"""Local orders inside the process: what the supervisor makes of files, and how ``start()`` sets a worker up."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk import logs
from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.exchange.local import LocalExchange, read_source_order
from mcai_worker_sdk.logs import secrets
from mcai_worker_sdk.protocol.delivery import Delivery
from mcai_worker_sdk.protocol.responses import JobResult, JobState, UnknownJobError
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor import start as start_module
from mcai_worker_sdk.supervisor.local import LocalSupervisor, _ignored_limits
from tests.unit.host_kit import CodeWorker, setup_of


class Screen:
    """What a person would be shown."""

    shows_responses = False

    def __init__(self) -> None:
        self.shown: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        self.shown.append(("open",))
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.append(("close",))

    def start(self, path: Path) -> None:
        self.shown.append(("start", path.name))

    def progress(self, percent: int) -> None:
        self.shown.append(("progress", percent))

    def frames(self, count: int) -> None:
        self.shown.append(("frames", count))

    def end(self, result: JobResult | None, failure: str | None) -> None:
        self.shown.append(("end", None if result is None else str(result.state), failure))

    def abandon(self) -> None:
        self.shown.append(("abandon",))


class Figures:
    """No figures."""

    def progression_info(self) -> dict[str, Any]:
        return {}

    def status_info(self, instance_id: str) -> dict[str, Any]:
        return {"of": instance_id}


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def run(tmp_path: Path, screen: Screen) -> Callable[..., bool]:
    """Runs orders, each given as a message, on a worker that runs the code in it."""

    def run_orders(*messages: dict[str, Any] | str, setup: str = "") -> bool:
        paths = []
        for number, message in enumerate(messages):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(message if isinstance(message, str) else json.dumps(message))
        identity = {"instance_id": "i", "name": "w", "parameters": {}}
        return LocalSupervisor(*setup_of(CodeWorker(setup)), identity, Figures(), screen).run(paths)

    return run_orders


def job(job_id: int, code: str = "", **more: Any) -> dict[str, Any]:
    return {"job_id": job_id, "parameters": [{"id": "code", "type": "string", "value": code}], **more}


def test_orders_are_shown_from_their_start_to_their_end(run: Callable[..., bool], screen: Screen):
    assert run(job(1, "ch.publish_job_progression(50)"), job(2, "raise ValueError('x')"), "{") is False

    *shown, unread, closed = screen.shown
    assert shown == [
        ("open",),
        ("start", "0.json"),
        ("progress", 0),
        ("progress", 50),
        ("end", "completed", None),
        ("start", "1.json"),
        ("progress", 0),
        ("end", "error", None),
        ("start", "2.json"),
    ]
    assert unread[:2] == ("end", None)
    assert "2.json" in unread[2]
    assert closed == ("close",)


def test_all_went_well_is_true(run: Callable[..., bool]):
    assert run(job(1), job(2)) is True


def test_a_job_that_says_it_stopped_is_no_failure(run: Callable[..., bool]):
    assert run(job(1, "ch.set_job_status(mcai.JobStatus.Stopped)")) is True


def test_an_initialised_job_is_started_by_a_later_order(run: Callable[..., bool], screen: Screen):
    assert run({**job(1), "type": "init_process"}, {"type": "start_process", "job_id": 1, "parameters": []}) is True

    assert [shown[1] for shown in screen.shown if shown[0] == "end"] == ["ready_to_start", "completed"]


def test_an_initialised_job_that_nobody_starts_is_closed_at_the_end(
    run: Callable[..., bool], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    run({**job(1), "type": "init_process"})

    assert caplog.messages[-1].startswith('{"Stopped": {')


def test_an_order_after_stop_worker_was_not_run(run: Callable[..., bool], screen: Screen):
    assert run({"type": "stop_worker"}, job(1)) is False

    assert screen.shown[-2][1] is None
    assert "was not run" in screen.shown[-2][2]


def test_the_backends_black_list_is_out_of_reach(run: Callable[..., bool], caplog: pytest.LogCaptureFixture):
    assert run({"type": "add_to_black_list", "job_id": 1}, job(1), {"type": "sync_black_list"}, job(2)) is True

    assert "The job is on the black list: its order is dropped." in caplog.messages
    assert "The black list is not fetched: local orders know no backend." in caplog.messages


def test_the_signal_handlers_are_put_back(run: Callable[..., bool]):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(job(1))

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_orders_run_beside_the_main_thread_too(run: Callable[..., bool]):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, job(1)).result() is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_job_and_leaves_the_rest(run: Callable[..., bool], screen: Screen, number: signal.Signals):
    code = f"import signal\nos.kill(os.getpid(), {int(number)})\nch._stop_requested.wait(30)\nch.is_stopped()"

    assert run(job(1, code), job(2)) is False
    assert [shown for shown in screen.shown if shown[0] in {"start", "end"}] == [
        ("start", "0.json"),
        ("end", "stopped", None),
    ]


def test_a_second_signal_ends_the_process_at_once(
    run: Callable[..., bool], screen: Screen, monkeypatch: pytest.MonkeyPatch
):
    class EndedError(BaseException):
        """Where the process would have ended."""

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", end)
    code = """
import signal
os.kill(os.getpid(), signal.SIGINT)
try:
    os.kill(os.getpid(), signal.SIGINT)
    ret = {'destination_paths': ['it went on']}
except BaseException as error:
    ret = {'destination_paths': [repr(error)]}"""
    results: list[JobResult] = []
    monkeypatch.setattr(screen, "end", lambda result, _failure: results.append(result))
    run(job(1, code))

    assert results[0].destination_paths == ("EndedError(130)",)
    assert ("abandon",) in screen.shown


# The local exchange


def test_a_file_becomes_a_delivery(tmp_path: Path):
    (tmp_path / "order.json").write_bytes(b"{}")

    assert read_source_order(tmp_path / "order.json").body == b"{}"


async def test_the_local_exchange_logs_what_the_orchestrator_would_hear(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    heard: list[Any] = []
    exchange = LocalExchange(lambda: "now", heard.append)
    result = JobResult(7, JobState.COMPLETED, ("/é",))
    await exchange.publish(result)
    await exchange.publish(UnknownJobError("what?"))
    await exchange.settle(Delivery(b"{}"))
    await exchange.consume_jobs()
    await exchange.pause_jobs()
    await exchange.close()

    assert heard == [result, UnknownJobError("what?")]
    # Only its own: a thread that a signal started in another test may still have something to say.
    completed, *_ = [record for record in caplog.records if record.name == "mcai_worker_sdk.exchange.local"]
    assert completed.job_id == 7  # type: ignore[attr-defined]
    assert json.loads(completed.getMessage())["Completed"]["destination_paths"] == ["/é"]


# start()


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mcai.Worker:
    class Parameters(mcai.WorkerParameters):
        """None."""

    class Plain(mcai.Worker):
        def process(self, channel: Any, parameters: Any, job_id: int) -> None: ...

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "w"\nversion = "1.0"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_secrets", secrets._Secrets())
    return Plain(Parameters, mcai.WorkerDescription(None))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be served, and with which exit code it ends."""
    calls: list[Any] = []

    def serve(definition: Any, settings: Any, identity: Any) -> int:
        logging.getLogger("test").info("passwords: broker-secret, backend-secret, guest")
        calls.append((definition, settings, identity))
        return int(os.environ.get("TEST_EXIT_CODE", "0"))

    monkeypatch.setattr(start_module, "_serve", serve)
    return calls


@pytest.fixture(autouse=True)
def _logging_as_before():
    yield
    logs.reset_logging()


@pytest.mark.parametrize(("queue", "warnings"), [("", 1), ("job_digest", 0)])
def test_a_worker_behind_a_broker_tells_that_its_queue_is_not_named(
    worker: mcai.Worker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    queue: str,
    warnings: int,
):
    class NoHost:
        def launch(self) -> None:
            raise HostError("no process today.")

    monkeypatch.setenv("AMQP_QUEUE", queue)
    monkeypatch.setattr(start_module, "_make_host", lambda *_: NoHost())
    with pytest.raises(SystemExit):
        worker.start()

    assert capsys.readouterr().err.count("The environment variable AMQP_QUEUE is unset; expected the queue") == warnings


def test_start_masks_the_passwords_of_the_settings_and_warns_of_the_description(
    worker: mcai.Worker, served: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AMQP_PASSWORD", "broker-secret")
    monkeypatch.setenv("BACKEND_PASSWORD", "backend-secret")
    worker.start()
    lines = [line.split(" - ", 3)[3] for line in capsys.readouterr().err.splitlines()]

    assert [line for line in lines if "SDK" not in line] == [
        "-1 - WARN - The worker w names no licence. Set license under [project] in pyproject.toml.",
        "-1 - INFO - passwords: ***, ***, guest",
        "-1 - INFO - The worker has ended with exit code 0.",
    ]
    assert len(served) == 1


@pytest.mark.parametrize("exit_code", [1, 143])
def test_start_exits_with_the_code_of_the_worker(
    worker: mcai.Worker, served: list[Any], monkeypatch: pytest.MonkeyPatch, exit_code: int
):
    monkeypatch.setenv("TEST_EXIT_CODE", str(exit_code))

    with pytest.raises(SystemExit) as ended:
        worker.start()
    assert ended.value.code == exit_code


def test_settings_that_are_wrong_end_start_before_anything_runs(
    worker: mcai.Worker, served: list[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MCAI_LOG", "loud")
    monkeypatch.setenv("AMQP_PORT", "0")

    with pytest.raises(SystemExit) as ended:
        worker.start()
    first, *faults = str(ended.value.code).splitlines()
    assert first == "The worker cannot start. 2 environment variables cannot be used:"
    assert [fault.partition(" is ")[0] for fault in sorted(faults)] == [
        "- The environment variable AMQP_PORT",
        "- The environment variable MCAI_LOG",
    ]
    assert served == []


def test_limits_that_local_orders_cannot_keep_are_named():
    limits = {"MCAI_JOB_TIMEOUT_SECONDS": "1", "MCAI_MAX_JOBS": "1", "MCAI_SHUTDOWN_GRACE_SECONDS": "1"}

    assert _ignored_limits(Settings.load(limits).job) == ["MCAI_JOB_TIMEOUT_SECONDS", "MCAI_MAX_JOBS"]
