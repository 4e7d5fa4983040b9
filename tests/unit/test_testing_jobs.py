"""The testing package: one job, as an author's test runs it."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk.errors import HostError, SettingsError, WorkerDefinitionError
from mcai_worker_sdk.testing import (
    Credential,
    MessageShapeError,
    RecordingChannel,
    StepFlow,
    Stop,
    Update,
    run_job,
    run_order,
)

logger = logging.getLogger(__name__)


KINDS = {int: "integer", list: "array_of_strings", str: "string"}


class CountingParameters(mcai.WorkerParameters):
    name: str
    times: int = 4


class Counting(mcai.Worker):
    """Counts, tells what it is given, and takes updates."""

    def setup(self) -> None:
        self.setups = getattr(self, "setups", 0) + 1
        self.updates: list[str] = []

    def process(self, channel: mcai.McaiChannel, parameters: CountingParameters, job_id: int) -> dict[str, Any]:
        done = 0
        for done in range(1, parameters.times + 1):
            logger.info("%s counts %d.", parameters.name, done)
            channel.publish_job_progression(100 * done / parameters.times)
            if channel.is_stopped():
                break
        values = {"done": done, "setups": self.setups, "updates": self.updates, "where": os.environ.get("WHERE", "")}
        return {
            "destination_paths": [f"/{parameters.name}"],
            "parameters": [{"id": name, "kind": KINDS[type(value)], "value": value} for name, value in values.items()],
        }

    def update_process(self, parameters: CountingParameters) -> None:
        self.updates.append(parameters.name)


class Failing(mcai.Worker):
    def process(self, channel: mcai.McaiChannel, parameters: CountingParameters, job_id: int) -> None:
        raise ValueError(f"{parameters.name} does not fit")


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "counting"\nversion = "1.2.3"\n')
    monkeypatch.chdir(tmp_path)


def counting() -> Counting:
    return Counting(CountingParameters, mcai.WorkerDescription(None))


def test_a_job_runs_to_its_result():
    run = run_job(counting(), {"name": "Ann"}, job_id=7)

    assert (run.job_id, run.status, run.error) == (7, "completed", None)
    assert run.progressions == [0, 25, 50, 75, 100]
    assert run.destination_paths == ["/Ann"]
    assert run.parameters == {"done": 4, "setups": 1, "updates": [], "where": ""}
    assert [(line.message, line.job_id) for line in run.log] == [(f"Ann counts {n}.", 7) for n in (1, 2, 3, 4)]
    assert run.result["status"] == "completed"
    assert [message.routing_key for message in run.messages] == [*["job_progression"] * 5, "job_completed"]


def test_a_class_is_made_a_worker_by_its_annotations_and_the_project_it_lies_in():
    assert run_job(_module_of(Counting), {"name": "Ann"}).status == "completed"


def _module_of(worker: type[mcai.Worker]) -> type[mcai.Worker]:
    """The class as one of a script, whose folder says who the worker is."""
    return type(worker.__name__, (worker,), {"__module__": "builtins"})


def test_a_class_whose_parameters_are_not_annotated_is_refused_with_what_to_do():
    class Silent(mcai.Worker):
        def process(self, channel, parameters, job_id):
            return None

    with pytest.raises(WorkerDefinitionError, match="Add it, or pass a worker that is made already"):
        run_job(type("Silent", (Silent,), {"__module__": "builtins"}), {})


def test_what_a_job_raises_is_the_text_of_its_error_and_its_traceback_is_in_the_log():
    run = run_job(Failing(CountingParameters, mcai.WorkerDescription(None)), {"name": "Ann"})

    assert run.status == "error"
    assert run.error is not None
    assert "ValueError: Ann does not fit" in run.error
    assert (run.parameters, run.destination_paths) == ({}, [])
    (line,) = run.log
    assert line.level == logging.ERROR
    assert "in process" in (line.exception or "")


def test_parameters_that_do_not_fit_are_refused_as_in_production():
    run = run_job(counting(), {"nam": "Ann", "times": "4"})

    assert run.status == "error"
    assert run.error is not None
    assert [word for word in ("'nam'", "'name'", "'times'") if word not in run.error] == []


def test_paths_and_enums_become_what_json_has_for_them(tmp_path: Path):
    class PathParameters(mcai.WorkerParameters):
        folder: Path

    class Looking(mcai.Worker):
        def process(self, channel: mcai.McaiChannel, parameters: Any, job_id: int) -> dict[str, Any]:
            return {"destination_paths": [str(parameters.folder)]}

    run = run_job(Looking(PathParameters, mcai.WorkerDescription(None)), {"folder": tmp_path})

    assert run.destination_paths == [str(tmp_path)]


def test_a_stop_comes_after_so_many_progressions():
    run = run_job(counting(), {"name": "Ann", "times": 100}, script=[Stop(after_progressions=2)])

    assert run.status == "stopped"
    assert run.parameters["done"] == 2


def test_a_stop_after_no_progression_is_there_before_the_first_line_of_the_job():
    run = run_job(counting(), {"name": "Ann", "times": 100}, script=[Stop(after_progressions=0)])

    assert (run.status, run.parameters["done"]) == ("stopped", 1)


def test_updates_come_as_the_script_says():
    script = [
        Update(after_progressions=1, parameters={"name": "Bea"}),
        Update(after_progressions=3, parameters={"name": "Cid"}),
    ]

    run = run_job(counting(), {"name": "Ann"}, script=script)

    assert run.parameters["updates"] == ["Bea", "Cid"]
    assert [message.routing_key for message in run.messages].count("worker_updated") == 2


def test_a_step_that_was_never_due_fails_the_test():
    with pytest.raises(AssertionError, match=r"never due: Stop\(after_progressions=5"):
        run_job(counting(), {"name": "Ann"}, script=[Stop(after_progressions=5)])


@pytest.mark.parametrize("when", [{}, {"after_progressions": 1, "after_frames": 1}])
def test_a_step_comes_after_progressions_or_after_frames(when: dict[str, int]):
    with pytest.raises(ValueError, match="expected one of them"):
        Stop(**when)


def test_an_order_is_run_from_a_file_an_object_or_its_bytes(tmp_path: Path):
    order = {"job_id": 5, "parameters": [{"id": "name", "type": "string", "value": "Ann"}]}
    path = tmp_path / "order.json"
    path.write_text(json.dumps(order))

    runs = [run_order(counting(), form) for form in (order, path, str(path), path.read_bytes())]

    assert [(run.job_id, run.status) for run in runs] == [(5, "completed")] * 4


def test_an_order_that_cannot_be_read_ends_in_the_error_that_stepflow_gets():
    run = run_order(counting(), b'{"job_id": 5, "type": "jog"}')

    assert (run.job_id, run.status) == (5, "error")
    assert "jog" in (run.error or "")


def test_an_order_that_has_no_result_says_so():
    with pytest.raises(AssertionError, match=r"ended without a result.*worker_status"):
        run_order(counting(), {"type": "status"})


def test_a_missing_requirement_ends_in_an_error_without_waiting(tmp_path: Path):
    run = run_job(counting(), {"name": "Ann", "requirements": {"paths": [tmp_path / "missing"]}})

    assert run.status == "error"
    assert "missing" in (run.error or "")


def test_the_environment_is_the_jobs_own_and_is_put_back():
    run = run_job(counting(), {"name": "Ann"}, environment={"WHERE": "here"})

    assert run.parameters["where"] == "here"
    assert "WHERE" not in os.environ


def test_a_wrong_variable_is_named_as_a_worker_names_it():
    with pytest.raises(SettingsError, match="AMQP_PORT"):
        run_job(counting(), {"name": "Ann"}, environment={"AMQP_PORT": "many"})


@pytest.mark.parametrize("store", ["env", "vault", "BACKEND", "MINE"])
def test_credentials_come_from_their_store_and_are_masked_in_the_log(store: str):
    run = run_job(counting(), {"name": Credential(store, "KEY")}, credentials={store: {"KEY": "a-secret-name"}})

    assert run.destination_paths == ["/a-secret-name"]
    assert {line.message for line in run.log} == {f"*** counts {n}." for n in (1, 2, 3, 4)}


def test_a_credential_that_the_store_has_not_fails_the_job():
    run = run_job(counting(), {"name": Credential("MINE", "KEY")}, credentials={"MINE": {}})

    assert run.status == "error"
    assert "'KEY' of store 'MINE'" in (run.error or "")


def test_a_setup_that_fails_is_told():
    class Broken(Counting):
        def setup(self) -> None:
            raise RuntimeError("no model")

    with pytest.raises(HostError, match="no model"):
        run_job(Broken(CountingParameters, mcai.WorkerDescription(None)), {"name": "Ann"})


def test_logging_is_put_back_as_it_was():
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogRecordFactory())

    run_job(counting(), {"name": "Ann"})

    assert (root.handlers, root.level, logging.getLogRecordFactory()) == before


def test_pytests_own_log_has_the_lines_as_well(caplog: pytest.LogCaptureFixture):
    run_job(counting(), {"name": "Ann"})

    assert "Ann counts 1." in caplog.messages


# --- one worker, many orders -------------------------------------------------------------------------------------


def test_one_worker_runs_many_jobs_after_one_setup():
    with StepFlow(counting()) as stepflow:
        runs = [stepflow.run_job({"name": "Ann"}, job_id=number) for number in (1, 2, 3)]

    assert [(run.job_id, run.parameters["setups"]) for run in runs] == [(1, 1), (2, 1), (3, 1)]


def test_a_worker_announces_itself_and_answers_direct_messages():
    with StepFlow(counting(), black_list=[4]) as stepflow:
        stepflow.send({"type": "get_black_list"})
        stepflow.send({"type": "status"})
        stepflow.submit({"job_id": 4, "parameters": []})
        assert stepflow.run()
    keys = [message.routing_key for message in stepflow.messages]

    assert keys == ["worker_discovery", "worker_created", "worker_black_list", "worker_status", "worker_terminated"]
    assert stepflow.backend_requests[-1] == "DELETE /api/step_flow/blacklist/4"


def test_a_suspended_worker_leaves_orders_in_the_queue():
    with StepFlow(counting()) as stepflow:
        stepflow.send({"type": "stop_consuming_jobs"})
        stepflow.submit({"job_id": 4, "parameters": [{"id": "name", "type": "string", "value": "Ann"}]})
        assert not stepflow.run()
        assert stepflow.waiting_orders == 1
        stepflow.send({"type": "resume_consuming_jobs"})
        assert stepflow.run()

    assert stepflow.waiting_orders == 0


def test_two_workers_side_by_side_each_have_their_own_log():
    with StepFlow(counting()) as one:
        with StepFlow(counting()) as other:
            other.run_job({"name": "Bea"})
        run = one.run_job({"name": "Ann"})

    assert [line.message for line in run.log][:1] == ["Ann counts 1."]
    assert "Ann counts 1." not in [line.message for line in other.log]


def test_a_message_that_stepflow_would_not_take_fails_the_test(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mcai_worker_sdk.testing.stepflow.utc_now", lambda: "yesterday")

    with pytest.raises(MessageShapeError, match="datetime"):
        run_job(counting(), {"name": "Ann"})


def test_the_channel_keeps_what_is_reported_by_it():
    channel = RecordingChannel(7, stop_after_progressions=2)

    channel.publish_job_progression(10)
    assert not channel.is_stopped()
    channel.publish_job_progression(20)
    channel.set_job_status(mcai.JobStatus.Error)
    channel.set_error_message("text")

    assert channel.is_stopped()
    assert (channel.progressions, channel.status, channel.error_message) == ([10, 20], mcai.JobStatus.Error, "text")


def test_the_fixtures_are_there_without_a_conftest(mcai_worker: Any, mcai_channel: RecordingChannel):
    stepflow = mcai_worker(counting())

    assert stepflow.run_job({"name": "Ann"}).status == "completed"
    assert Counting.process(stepflow._worker, mcai_channel, CountingParameters(name="Bea"), 1)
    assert mcai_channel.progressions == [25, 50, 75, 100]


class Quiet(mcai.Worker):
    """Logs nothing: pytest would keep every record."""

    def process(self, channel: mcai.McaiChannel, parameters: CountingParameters, job_id: int) -> None:
        channel.publish_job_progression(50)


@pytest.mark.timeout(180)
def test_a_thousand_jobs_leave_nothing_behind():
    worker = Quiet(CountingParameters, mcai.WorkerDescription(None))
    process = psutil.Process()

    def figures() -> tuple[int, int, int]:
        gc.collect()
        return process.num_fds(), threading.active_count(), len(gc.get_objects())

    for _ in range(20):
        run_job(worker, {"name": "Ann"})
    descriptors, threads, objects = figures()
    for _ in range(1000):
        assert run_job(worker, {"name": "Ann"}).status == "completed"
    more_descriptors, more_threads, more_objects = figures()

    assert (more_descriptors, more_threads) == (descriptors, threads)
    assert more_objects - objects < 100, "not one object in ten jobs"
