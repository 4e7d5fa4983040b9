"""The runner: one job from its order to its result, whatever user code does."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk import logs
from mcai_worker_sdk.errors import JobError
from mcai_worker_sdk.job import runner as runner_module
from mcai_worker_sdk.job.failures import MESSAGE_LIMIT_BYTES
from mcai_worker_sdk.job.runner import Runner
from mcai_worker_sdk.logs import secrets
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.host_kit import CodeWorker, failure_of, result_of, setup_of


class Parameters(mcai.WorkerParameters):
    """What an order may say."""

    text: str = ""
    number: int = 0


class Scripted(CodeWorker):
    """A worker whose ``process`` is a function of the test."""

    def __init__(self, work: Callable[..., Any]) -> None:
        super().__init__()
        self.work = work

    def process(self, channel: mcai.McaiChannel, parameters: Any, job_id: int) -> Any:
        return self.work(channel, parameters, job_id)


def runner_of(work: Callable[..., Any], reported: list[tuple[int, int]] | None = None, **environ: str) -> Runner:
    report = (lambda _job_id, _percent: None) if reported is None else lambda *values: reported.append(values)
    return Runner(*setup_of(Scripted(work), Parameters, environ), report)


def parameter(name: str, value: Any, **more: Any) -> OrderParameter:
    return OrderParameter(id=name, type="any", value=value, **more)


def fail(error: BaseException) -> Callable[..., Any]:
    def work(*_: Any) -> None:
        raise error

    return work


# Results


def test_a_job_gets_its_channel_its_parameters_and_its_id():
    def work(channel: mcai.McaiChannel, parameters: Parameters, job_id: int) -> Any:
        assert isinstance(channel, mcai.McaiChannel)
        assert vars(parameters) == {"text": "é", "number": 3}
        assert job_id == 7
        channel.publish_job_progression(12.9)
        return {"destination_paths": ["/out"]}

    reported: list[tuple[int, int]] = []
    result = result_of(runner_of(work, reported).obey(cmd.RunJob(7, (parameter("text", "é"), parameter("number", 3)))))

    assert (result.job_id, result.state, result.destination_paths) == (7, JobState.COMPLETED, ("/out",))
    assert reported == [(7, 12)]


def test_nothing_leaks_from_one_job_to_the_next():
    seen: list[Parameters] = []

    def work(_channel: Any, parameters: Parameters, _job_id: int) -> None:
        seen.append(parameters)
        parameters.text += " changed"
        parameters.extra = 1  # type: ignore[attr-defined]

    runner = runner_of(work)
    result_of(runner.obey(cmd.RunJob(1, (parameter("text", "one"),))))
    result_of(runner.obey(cmd.RunJob(2, ())))

    assert vars(seen[1]) == {"text": " changed", "number": 0, "extra": 1}
    assert seen[0] is not seen[1]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (mcai.JobStatus.Completed, JobState.COMPLETED),
        (mcai.JobStatus.Stopped, JobState.STOPPED),
        (mcai.JobStatus.Error, JobState.ERROR),
    ],
)
def test_the_status_that_the_job_set_counts(status: mcai.JobStatus, state: JobState):
    result = result_of(runner_of(lambda channel, *_: channel.set_job_status(status) and None).obey(cmd.RunJob(1, ())))

    assert result.state is state
    assert result.message == ("No message for this error in worker" if state is JobState.ERROR else None)


def test_a_message_that_the_job_set_is_masked_and_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "_secrets", secrets._Secrets())
    logs.mask_secret("open-sesame")

    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        channel.set_job_status(mcai.JobStatus.Error)
        channel.set_error_message("open-sesame " + "☃" * 5000)

    message = result_of(runner_of(work).obey(cmd.RunJob(1, ()))).message or ""

    assert message.startswith("*** ☃")
    assert len(message.encode()) <= MESSAGE_LIMIT_BYTES


def test_an_error_that_the_job_set_is_logged_as_any_other(caplog: pytest.LogCaptureFixture):
    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        channel.set_job_status(mcai.JobStatus.Error)
        channel.set_error_message("100 % empty")

    result_of(runner_of(work).obey(cmd.RunJob(9, ())))

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "The job failed: 100 % empty")
    assert record.job_id == 9  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (None, "the job ended as completed. Call set_job_status(JobStatus.Error) as well."),
        (mcai.JobStatus.Stopped, "the job ended as stopped. Call set_job_status(JobStatus.Error) as well."),
    ],
)
def test_an_error_message_without_its_status_is_told(
    status: mcai.JobStatus | None, advice: str, caplog: pytest.LogCaptureFixture
):
    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        channel.set_error_message("no such clip")
        if status is not None:
            channel.set_job_status(status)

    result = result_of(runner_of(work).obey(cmd.RunJob(7, ())))

    assert result.message is None
    (record,) = caplog.records
    assert record.getMessage() == f"The error message 'no such clip' is not published: {advice}"
    assert record.job_id == 7  # type: ignore[attr-defined]


def test_an_error_message_behind_an_exception_is_told(caplog: pytest.LogCaptureFixture):
    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        channel.set_error_message("no such clip")
        raise ValueError("late")

    assert (result_of(runner_of(work).obey(cmd.RunJob(7, ()))).message or "").startswith("ValueError: late")
    assert "The error message 'no such clip' is not published: the job ended in an exception" in caplog.text


def test_an_error_message_with_its_status_is_no_near_miss(caplog: pytest.LogCaptureFixture):
    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        channel.set_error_message("no such clip")
        channel.set_job_status(mcai.JobStatus.Error)

    assert result_of(runner_of(work).obey(cmd.RunJob(7, ()))).message == "no such clip"
    assert "not published" not in caplog.text


def test_a_result_that_cannot_be_published_fails_the_job():
    result = result_of(
        runner_of(lambda *_: {"parameters": [{"id": "n", "kind": "int", "value": "abc"}]}).obey(cmd.RunJob(1, ()))
    )

    assert result.state is JobState.ERROR
    assert "'n'" in (result.message or "")


def test_a_warning_about_a_result_names_the_job(caplog: pytest.LogCaptureFixture):
    result = result_of(runner_of(lambda *_: "done, 100 %s").obey(cmd.RunJob(9, ())))

    (record,) = caplog.records
    assert result.state is JobState.COMPLETED
    assert (record.levelno, record.job_id) == (logging.WARNING, 9)  # type: ignore[attr-defined]


# Failures


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("x"), "ValueError: x"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit(), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (MemoryError(), "MemoryError"),
        (StopIteration("s"), "StopIteration: s"),
        (JobError("The clip is missing."), "The clip is missing."),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_whatever_process_raises_ends_its_job_only(error: BaseException, said: str):
    runner = runner_of(lambda _channel, parameters, _job_id: fail(error)() if parameters.number == 0 else None)
    failed = result_of(runner.obey(cmd.RunJob(1, ())))
    next_one = result_of(runner.obey(cmd.RunJob(2, (parameter("number", 1),))))

    assert (failed.job_id, failed.state) == (1, JobState.ERROR)
    assert (failed.message or "").splitlines()[0] == said
    assert next_one.state is JobState.COMPLETED


def test_the_message_shows_user_code_and_not_the_sdk():
    message = result_of(runner_of(fail(ValueError("x"))).obey(cmd.RunJob(1, ()))).message or ""

    assert "test_host_runner.py" in message
    assert runner_module.__file__ not in message


def test_what_a_failed_program_wrote_is_in_the_message_and_in_the_log(caplog: pytest.LogCaptureFixture):
    def work(*_: Any) -> None:
        subprocess.run(["sh", "-c", "echo 'moov atom not found' >&2; exit 1"], check=True, capture_output=True)

    result = result_of(runner_of(work).obey(cmd.RunJob(7, ())))

    said = "CalledProcessError.stderr:\nmoov atom not found"
    assert said in (result.message or "")
    (record,) = caplog.records
    assert record.getMessage() == f"The job failed.\n{said}"


def test_an_exception_that_cannot_be_printed_fails_its_job_only():
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

    message = result_of(runner_of(fail(UnprintableError())).obey(cmd.RunJob(1, ()))).message or ""

    assert message.startswith("UnprintableError: <its text cannot be read: SystemExit>")


def test_every_wrong_parameter_is_named_and_process_is_not_called():
    called: list[int] = []
    wrong = (parameter("number", "x"), parameter("text", 5), parameter("other", 1))
    message = result_of(runner_of(lambda *_: called.append(1)).obey(cmd.RunJob(1, wrong))).message or ""

    assert [name for name in ("number", "text", "other") if name not in message] == []
    assert called == []


def test_a_credential_that_is_not_there_fails_the_job():
    result = result_of(runner_of(lambda *_: None).obey(cmd.RunJob(1, (parameter("text", "NO_KEY", store="env"),))))

    assert result.state is JobState.ERROR
    assert "NO_KEY" in (result.message or "")


def test_a_credential_is_masked_in_whatever_the_job_says_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "_secrets", secrets._Secrets())

    def work(_channel: Any, parameters: Parameters, _job_id: int) -> None:
        assert parameters.text == "open-sesame"
        raise ValueError(f"refused: {parameters.text}")

    message = (
        result_of(
            runner_of(work, KEY="open-sesame").obey(cmd.RunJob(1, (parameter("text", "KEY", store="env"),)))
        ).message
        or ""
    )

    assert message.startswith("ValueError: refused: ***\n")
    assert "open-sesame" not in message


# Stops


def test_a_stop_that_comes_before_the_job_is_kept_for_it():
    runner = runner_of(lambda channel, *_: {"destination_paths": [str(channel.is_stopped())]})
    runner.expect(1)
    runner.obey(cmd.StopJob(1))
    result = result_of(runner.obey(cmd.RunJob(1, ())))

    assert (result.state, result.destination_paths) == (JobState.STOPPED, ("True",))


def test_a_stop_of_another_job_or_an_earlier_run_is_not():
    runner = runner_of(lambda channel, *_: {"destination_paths": [str(channel.is_stopped())]})
    runner.obey(cmd.StopJob(1))
    runner.obey(cmd.StopJob(2))
    runner.expect(2)
    result = result_of(runner.obey(cmd.RunJob(2, ())))
    again = result_of(runner.obey(cmd.RunJob(1, ())))

    assert (result.state, result.destination_paths) == (JobState.COMPLETED, ("False",))
    assert again.state is JobState.COMPLETED


def test_a_stop_during_the_credentials_is_seen_by_process(monkeypatch: pytest.MonkeyPatch):
    resolve = runner_module.CredentialResolver.resolve

    def stop_meanwhile(self: Any, parameters: Any) -> Any:
        thread = threading.Thread(target=runner.obey, args=(cmd.StopJob(1),))
        thread.start()
        thread.join()
        return resolve(self, parameters)

    monkeypatch.setattr(runner_module.CredentialResolver, "resolve", stop_meanwhile)
    runner = runner_of(lambda channel, *_: {"destination_paths": [str(channel.is_stopped())]})

    assert result_of(runner.obey(cmd.RunJob(1, ()))).state is JobState.STOPPED


def test_a_job_that_never_asked_completes_though_it_was_told_to_stop():
    runner = runner_of(lambda _channel, _parameters, job_id: runner.obey(cmd.StopJob(job_id)))

    assert result_of(runner.obey(cmd.RunJob(1, ()))).state is JobState.COMPLETED


def test_a_stopped_job_keeps_what_it_returned():
    def work(channel: mcai.McaiChannel, _parameters: Any, job_id: int) -> Any:
        runner.obey(cmd.StopJob(job_id))
        assert channel.is_stopped()
        return {"destination_paths": ["/half"]}

    runner = runner_of(work)
    result = result_of(runner.obey(cmd.RunJob(1, ())))

    assert (result.state, result.destination_paths) == (JobState.STOPPED, ("/half",))


# Initialised jobs


def test_an_initialised_job_starts_with_its_parameters():
    runner = runner_of(lambda _channel, parameters, _job_id: {"destination_paths": [parameters.text]})

    assert failure_of(runner.obey(cmd.InitialiseJob(1, (parameter("text", "a"),)))) is None
    assert runner.current_job_id == 1
    assert result_of(runner.obey(cmd.StartJob(1, ()))).destination_paths == ("a",)
    assert runner.current_job_id is None


def test_other_parameters_at_the_start_replace_them():
    runner = runner_of(lambda _channel, parameters, _job_id: {"destination_paths": [parameters.text]})
    failure_of(runner.obey(cmd.InitialiseJob(1, (parameter("text", "a"),))))

    assert result_of(runner.obey(cmd.StartJob(1, (parameter("text", "b"),)))).destination_paths == ("b",)


def test_other_parameters_that_are_wrong_fail_the_start():
    runner = runner_of(lambda *_: None)
    failure_of(runner.obey(cmd.InitialiseJob(1, ())))

    assert result_of(runner.obey(cmd.StartJob(1, (parameter("number", "x"),)))).state is JobState.ERROR


def test_a_job_that_fails_to_initialise_ends_there():
    runner = runner_of(lambda *_: None)
    failure = failure_of(runner.obey(cmd.InitialiseJob(1, (parameter("number", "x"),))))

    assert failure is not None
    assert failure.state is JobState.ERROR
    assert runner.current_job_id is None


def test_a_start_without_an_initialised_job_runs_the_order_itself():
    runner = runner_of(lambda _channel, parameters, _job_id: {"destination_paths": [parameters.text]})
    failure_of(runner.obey(cmd.InitialiseJob(1, ())))

    assert result_of(runner.obey(cmd.StartJob(2, (parameter("text", "b"),)))).destination_paths == ("b",)


def test_a_discarded_job_is_stopped_and_its_channel_closed():
    runner = runner_of(lambda *_: None)
    failure_of(runner.obey(cmd.InitialiseJob(1, ())))

    assert (result_of(runner.obey(cmd.DiscardJob(1))).state, runner.current_job_id) == (JobState.STOPPED, None)
    assert result_of(runner.obey(cmd.DiscardJob(1))).state is JobState.STOPPED


# After the end


def test_a_channel_does_nothing_after_the_end():
    kept: list[mcai.McaiChannel] = []
    reported: list[tuple[int, int]] = []
    result_of(runner_of(lambda channel, *_: kept.append(channel), reported).obey(cmd.RunJob(1, ())))
    (channel,) = kept

    assert channel.publish_job_progression(50) is False
    assert channel.set_job_status(mcai.JobStatus.Error) is False
    assert channel.set_error_message("late") is False
    assert channel.is_stopped() is False
    assert reported == []


def test_no_progression_comes_after_the_end_though_a_thread_is_in_the_middle_of_one():
    inside, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def report(_job_id: int, _percent: int) -> None:
        inside.set()
        go_on.wait(30)
        order.append("progression")

    def work(channel: mcai.McaiChannel, *_: Any) -> None:
        threading.Thread(target=channel.publish_job_progression, args=(1,)).start()
        assert inside.wait(30)
        threading.Timer(0.05, go_on.set).start()

    result_of(Runner(*setup_of(Scripted(work), Parameters), report).obey(cmd.RunJob(1, ())))
    order.append("result")

    assert order == ["progression", "result"]


@pytest.mark.parametrize("ends", ["return", "raise"])
def test_parameters_result_and_traceback_of_a_finished_job_are_not_kept(ends: str, monkeypatch: pytest.MonkeyPatch):
    # Pytest keeps log records, and with them exceptions.
    nobody = logging.getLogger("heard by nobody")
    monkeypatch.setattr(nobody, "disabled", True)
    monkeypatch.setattr(runner_module, "_logger", nobody)
    kept: list[weakref.ref[Any]] = []

    class Local:
        """Something in a frame of user code."""

    def work(channel: mcai.McaiChannel, parameters: Any, _job_id: int) -> None:
        local = Local()
        kept.extend([weakref.ref(local), weakref.ref(parameters), weakref.ref(channel)])
        if ends == "raise":
            error = ValueError("x")
            kept.append(weakref.ref(error))
            raise error

    runner = runner_of(work)
    result_of(runner.obey(cmd.RunJob(1, (parameter("text", "x"),))))
    gc.collect()

    assert [reference() for reference in kept] == [None] * len(kept)


def test_a_job_is_on_the_log_records_of_its_time_only():
    seen = []
    runner = runner_of(lambda *_: seen.append(logs.current_job.get()))
    result_of(runner.obey(cmd.RunJob(7, ())))

    assert seen == [7]
    assert logs.current_job.get() == -1


# Time


def test_the_cpu_time_counts_the_jobs_children():
    burn = "import resource\nwhile resource.getrusage(resource.RUSAGE_SELF).ru_utime < 0.3: pass"
    runner = runner_of(lambda *_: subprocess.run([sys.executable, "-c", burn], check=True) and None)
    result = result_of(runner.obey(cmd.RunJob(1, ())))

    assert result.cpu_time_seconds >= 0.3
    assert result.execution_duration_seconds > 0
