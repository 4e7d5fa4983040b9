"""Updates at the host: in the order they come, for the job they name while it is in hand, beside everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mcai_worker_sdk.host.thread import ThreadHost
from mcai_worker_sdk.job import runner as runner_module
from mcai_worker_sdk.job.runner import Runner
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.host_kit import CodeWorker, HostDriver, code, drive, failure_of, refusal_of, result_of, setup_of


class Scripted(CodeWorker):
    """A worker whose ``process`` and ``update_process`` are functions of the test."""

    def __init__(self, work: Callable[..., Any], update: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.work = work
        self.update = update or self.updates.append

    def process(self, channel: Any, parameters: Any, job_id: int) -> Any:
        return self.work(channel, parameters, job_id)

    def update_process(self, parameters: Any) -> None:
        if parameters.code == "refuse":
            raise ValueError("not now")
        self.update(parameters.code)


class Beside:
    """An update from a thread beside the job's."""

    def __init__(self, runner: Runner, job_id: int, parameters: tuple[OrderParameter, ...]) -> None:
        self.answers: list[str | None] = []
        self._thread = threading.Thread(
            target=lambda: self.answers.append(refusal_of(runner.obey(cmd.UpdateJob(job_id, parameters)))), daemon=True
        )
        self._thread.start()

    def answer(self) -> str | None:
        self._thread.join(30)
        return self.answers[0]


def runner_of(worker: CodeWorker) -> Runner:
    return Runner(*setup_of(worker), lambda *_: None)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    return SlowStore(monkeypatch)


class SlowStore:
    """A credential store that answers an update once the test says so; an order's own parameters need none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        resolve = runner_module.CredentialResolver.resolve

        def wait(resolver: Any, parameters: Any) -> Any:
            if parameters and parameters[0].store == "slow":
                self.asked.set()
                assert self.answers.wait(30)
                parameters = code(parameters[0].value)
            return resolve(resolver, parameters)

        monkeypatch.setattr(runner_module.CredentialResolver, "resolve", wait)

    @staticmethod
    def code(value: str) -> tuple[OrderParameter, ...]:
        return (OrderParameter(id="code", type="string", value=value, store="slow"),)


# What becomes of one


def test_an_update_from_another_thread_reaches_the_running_job():
    def work(*_: Any) -> Any:
        answers.extend(Beside(runner, 1, code(text)).answer() for text in ("b", "refuse"))
        answers.append(Beside(runner, 2, code("c")).answer())
        return {"destination_paths": worker.updates}

    answers: list[str | None] = []
    worker = Scripted(work)
    runner = runner_of(worker)

    assert result_of(runner.obey(cmd.RunJob(1, ()))).destination_paths == ("b",)
    taken, refused, not_running = answers
    assert taken is None
    assert (refused or "").startswith("ValueError: not now")
    assert not_running == "Job 2 is not running: the update is refused."


def test_an_update_with_wrong_parameters_is_refused_and_the_job_goes_on():
    wrong = (OrderParameter(id="code", type="string", value=[1]),)
    refusals: list[str | None] = []
    runner = runner_of(Scripted(lambda *_: refusals.append(refusal_of(runner.obey(cmd.UpdateJob(1, wrong))))))
    result = result_of(runner.obey(cmd.RunJob(1, ())))

    assert "code" in (refusals[0] or "")
    assert result.state is JobState.COMPLETED


def test_a_worker_without_update_process_says_so():
    class Plain:
        def process(self, _channel: Any, _parameters: Any, job_id: int) -> Any:
            return {"destination_paths": [refusal_of(runner.obey(cmd.UpdateJob(job_id, ()))) or "taken"]}

    runner = Runner(*setup_of(Plain()), lambda *_: None)

    assert result_of(runner.obey(cmd.RunJob(1, ()))).destination_paths == (
        "The worker takes no update: it defines no update_process(parameters) method.",
    )


def test_a_prepared_job_is_started_with_the_parameters_it_was_updated_to():
    worker = Scripted(lambda _channel, parameters, _job_id: {"destination_paths": [parameters.code]})
    runner = runner_of(worker)
    failure_of(runner.obey(cmd.InitialiseJob(1, code("old"))))
    answers = [
        refusal_of(runner.obey(cmd.UpdateJob(1, code("new")))),
        refusal_of(runner.obey(cmd.UpdateJob(1, code("refuse")))),
    ]

    assert [answer is None for answer in answers] == [True, False]
    assert result_of(runner.obey(cmd.StartJob(1, code("old")))).destination_paths == ("new",)


# For its job only


@pytest.mark.parametrize("next_id", [2, 1])
def test_an_update_whose_parameters_come_after_its_job_ended_is_refused_and_not_the_next_jobs(
    store: SlowStore, next_id: int
):
    def work(_channel: Any, _parameters: Any, _job_id: int) -> Any:
        if not updates:
            updates.append(Beside(runner, 1, store.code("late")))
            assert store.asked.wait(30)
            return {}
        store.answers.set()
        return {"destination_paths": [updates[0].answer(), *worker.updates]}

    updates: list[Beside] = []
    worker = Scripted(work)
    runner = runner_of(worker)
    result_of(runner.obey(cmd.RunJob(1, ())))

    assert result_of(runner.obey(cmd.RunJob(next_id, ()))).destination_paths == (
        "Job 1 is not running: the update is refused.",
    )


def test_an_update_of_a_job_that_is_prepared_again_is_refused(store: SlowStore):
    def work(_channel: Any, _parameters: Any, _job_id: int) -> Any:
        store.answers.set()
        return {"destination_paths": [update.answer(), *worker.updates]}

    worker = Scripted(work)
    runner = runner_of(worker)
    failure_of(runner.obey(cmd.InitialiseJob(1, code("a"))))
    update = Beside(runner, 1, store.code("late"))
    assert store.asked.wait(30)

    assert result_of(runner.obey(cmd.StartJob(1, code("b")))).destination_paths == (
        "Job 1 is not running: the update is refused.",
    )


def test_a_job_ends_after_the_update_it_takes():
    def update(_text: str) -> None:
        taking.set()
        time.sleep(0.2)
        order.append("updated")

    def work(_channel: Any, _parameters: Any, job_id: int) -> None:
        order.append(f"job {job_id}")
        if job_id == 1:
            updates.append(Beside(runner, 1, code("a")))
            assert taking.wait(30)

    taking = threading.Event()
    order: list[str] = []
    updates: list[Beside] = []
    runner = runner_of(Scripted(work, update))
    result_of(runner.obey(cmd.RunJob(1, ())))
    result_of(runner.obey(cmd.RunJob(2, ())))

    assert updates[0].answer() is None
    assert order == ["job 1", "updated", "job 2"]


def test_an_update_process_that_does_not_return_holds_its_jobs_end_up_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def work(_channel: Any, _parameters: Any, job_id: int) -> None:
        if job_id == 1:
            Beside(runner, 1, code("a"))
            assert taking.wait(30)

    def update(_text: str) -> None:
        taking.set()
        gate.wait(30)

    monkeypatch.setattr(runner_module, "UPDATE_GRACE_SECONDS", 0.1)
    taking, gate = threading.Event(), threading.Event()
    runner = runner_of(Scripted(work, update))
    states = [result_of(runner.obey(cmd.RunJob(job_id, ()))).state for job_id in (1, 2)]
    gate.set()

    assert states == [JobState.COMPLETED] * 2
    assert caplog.text.count("update_process of the job has not returned") == 1


# Across the link


def updated(driver: HostDriver, count: int) -> Callable[[], bool]:
    return lambda: sum(isinstance(event, ev.JobUpdated) for event in driver.events) == count


def thread_host(worker: CodeWorker) -> ThreadHost:
    return ThreadHost(*setup_of(worker))


def test_updates_are_taken_in_the_order_they_came_whatever_their_parameters_wait_for(store: SlowStore):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.host.command(cmd.RunJob(1, code("ch.publish_job_progression(1)\nch._stop_requested.wait(30)")))
        await driver.progressed(1)
        driver.host.command(cmd.UpdateJob(1, store.code("first")))
        for text in ("second", "refuse", "third"):
            driver.host.command(cmd.UpdateJob(1, code(text)))
        threading.Timer(0.3, store.answers.set).start()
        await driver.until(updated(driver, 4))
        driver.host.command(cmd.StopJob(1))
        await driver.ended()

    worker = CodeWorker()
    driver = drive(thread_host(worker), scene)

    assert worker.updates == ["first", "second", "third"]
    refusals = [event.refusal for event in driver.events if isinstance(event, ev.JobUpdated)]
    assert [refusal is None for refusal in refusals] == [True, True, False, True]


def test_a_stop_does_not_wait_for_an_update(store: SlowStore):
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.host.command(
            cmd.RunJob(1, code("ch.publish_job_progression(1)\nassert ch._stop_requested.wait(30)\nch.is_stopped()"))
        )
        await driver.progressed(1)
        driver.host.command(cmd.UpdateJob(1, store.code("a")))
        assert store.asked.wait(30)
        driver.host.command(cmd.StopJob(1))
        await driver.ended()
        store.answers.set()
        await driver.until(updated(driver, 1))

    worker = CodeWorker()
    driver = drive(thread_host(worker), scene)

    assert driver.results[0].state is JobState.STOPPED
    assert driver.events[-1] == ev.JobUpdated(1, "Job 1 is not running: the update is refused.")
    assert worker.updates == []


def test_the_thread_of_the_updates_ends_with_the_link():
    async def scene(driver: HostDriver) -> None:
        await driver.ready()
        driver.host.command(cmd.UpdateJob(1, code("a")))
        await driver.until(updated(driver, 1))
        updaters.extend(thread for thread in threading.enumerate() if thread.name == "mcai-update")

    updaters: list[threading.Thread] = []
    drive(thread_host(CodeWorker()), scene)

    (updater,) = updaters
    updater.join(30)
    assert not updater.is_alive()
    assert updater.daemon
