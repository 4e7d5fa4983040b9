"""The dispatcher: every effect becomes one call, in order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import (
    Activity,
    BlackListReport,
    JobResult,
    JobState,
    Progression,
    UnknownJobError,
    UpdateRefusal,
    WorkerAnnouncement,
    WorkerStatusReport,
    failed_result,
)
from mcai_worker_sdk.supervisor.dispatch import Dispatcher, missing_paths

IDENTITY = {"instance_id": "i", "name": "w", "parameters": {}}
DELIVERY = Delivery(b"{}")
PARAMETERS = (OrderParameter(id="a", type="string", value="x"),)
RESULT = JobResult(1, JobState.COMPLETED)
SO_FAR = {"execution_duration_seconds": 2.0, "cpu_time_seconds": 1.0}

#: Every effect, and the calls that follow from it.
CALLS: list[tuple[fx.Effect, list[tuple[Any, ...]]]] = [
    (fx.Settle(DELIVERY, Case.COMPLETED), [("settle", DELIVERY)]),
    (fx.Settle(DELIVERY, Case.SHUTTING_DOWN), [("settle", DELIVERY)]),
    (fx.Delay(DELIVERY, 7, Count.PUT_BACKS), [("delay", DELIVERY, 7, Count.PUT_BACKS)]),
    (fx.PublishResult(RESULT), [("on_result", RESULT), ("publish", RESULT)]),
    (fx.PublishUnknownError("no job"), [("publish", UnknownJobError("no job"))]),
    (fx.ReportJob(1, JobState.PROCESSING), [("publish", JobResult(1, JobState.PROCESSING, **SO_FAR))]),
    (fx.RefuseUpdate(1, "no"), [("publish", UpdateRefusal(1, "no"))]),
    (fx.ReportProgression(1, 40), [("publish_progression", Progression(1, 40, "i", {"cores": []}))]),
    (fx.ReportStatus(Activity.IDLE), [("publish", WorkerStatusReport(Activity.IDLE, IDENTITY, {"of": "i"}, None))]),
    (
        fx.ReportStatus(Activity.BUSY, 1, JobState.PROCESSING),
        [
            (
                "publish",
                WorkerStatusReport(Activity.BUSY, IDENTITY, {"of": "i"}, JobResult(1, JobState.PROCESSING, **SO_FAR)),
            )
        ],
    ),
    (fx.ReportBlackList([3]), [("publish", BlackListReport([3], IDENTITY))]),
    (fx.AnnounceCreated(), [("publish", WorkerAnnouncement("worker_created", IDENTITY))]),
    (fx.CheckRequirements(1, ["/a"]), [("check_requirements", 1, ["/a"])]),
    (cmd.RunJob(1, PARAMETERS), [("command", cmd.RunJob(1, PARAMETERS))]),
    (cmd.InitialiseJob(1, PARAMETERS), [("command", cmd.InitialiseJob(1, PARAMETERS))]),
    (cmd.StartJob(1, PARAMETERS), [("command", cmd.StartJob(1, PARAMETERS))]),
    (cmd.StopJob(1), [("command", cmd.StopJob(1))]),
    (cmd.DiscardJob(1), [("command", cmd.DiscardJob(1))]),
    (cmd.UpdateJob(1, PARAMETERS), [("command", cmd.UpdateJob(1, PARAMETERS))]),
    (fx.ConsumeJobs(), [("consume_jobs",)]),
    (fx.PauseJobs(), [("pause_jobs",)]),
    (fx.FetchBlackList(), [("fetch",)]),
    (fx.DeleteBlackListed(3), [("delete", 3)]),
    (fx.Warn("careful", 3), []),
    (fx.Drain(), [("drain",)]),
    (fx.Terminate(1), [("terminate", 1)]),
    (fx.Stay(), [("stay",)]),
    (fx.AwaitReturn(4, brief=True), [("await_return", 4, True)]),
]


@dataclass
class Recorder:
    """Plays every partner of the dispatcher and notes each call."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    effects: list[fx.Effect] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any) -> None:
            self.calls.append((name, *arguments))

        return note

    # The lifecycle

    def feed(self, event: ev.Event) -> Sequence[fx.Effect]:
        del event
        return self.effects

    # The exchange: what is awaited

    async def publish(self, response: Any) -> None:
        self.calls.append(("publish", response))

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        self.calls.append(("delay", delivery, job_id, count))

    async def settle(self, delivery: Delivery) -> None:
        self.calls.append(("settle", delivery))

    async def consume_jobs(self) -> None:
        self.calls.append(("consume_jobs",))

    async def pause_jobs(self) -> None:
        self.calls.append(("pause_jobs",))

    # What is asked

    def usage(self) -> JobUsage:
        return JobUsage(2.0, 1.0)

    def progression_info(self) -> dict[str, Any]:
        return {"cores": []}

    def status_info(self, instance_id: str) -> dict[str, Any]:
        return {"of": instance_id}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def dispatcher(recorder: Recorder) -> Dispatcher:
    partner: Any = recorder
    return Dispatcher(
        lifecycle=partner,
        exchange=partner,
        host=partner,
        identity=IDENTITY,
        system_information=partner,
        black_list=partner,
        check_requirements=partner.check_requirements,
        drain=partner.drain,
        terminate=partner.terminate,
        stay=partner.stay,
        await_return=partner.await_return,
        on_result=partner.on_result,
    )


def test_every_effect_is_in_the_table():
    assert {type(effect) for effect, _ in CALLS} == set(get_args(fx.Effect))


@pytest.mark.parametrize(("effect", "calls"), CALLS, ids=[type(effect).__name__ for effect, _ in CALLS])
async def test_an_effect_becomes_its_call(
    dispatcher: Dispatcher, recorder: Recorder, effect: fx.Effect, calls: list[tuple[Any, ...]]
):
    recorder.effects = [effect]
    await dispatcher.handle(ev.HostReady())

    assert recorder.calls == calls


async def test_effects_are_done_in_their_order(dispatcher: Dispatcher, recorder: Recorder):
    recorder.effects = [effect for effect, _ in CALLS]
    await dispatcher.handle(ev.HostReady())

    assert recorder.calls == [call for _, calls in CALLS for call in calls]


async def test_a_settlement_waits_for_the_publication_before_it(dispatcher: Dispatcher, recorder: Recorder):
    async def refuse(_response: Any) -> None:
        raise ConnectionError("not confirmed")

    recorder.publish = refuse  # type: ignore[method-assign]
    recorder.effects = [fx.PublishResult(RESULT), fx.Settle(DELIVERY, Case.COMPLETED)]

    with pytest.raises(ConnectionError):
        await dispatcher.handle(ev.JobEnded(RESULT))
    assert recorder.calls == [("on_result", RESULT)]


async def test_a_warning_is_logged_with_its_job(
    dispatcher: Dispatcher, recorder: Recorder, caplog: pytest.LogCaptureFixture
):
    recorder.effects = [fx.Warn("100 % careful", 3)]
    await dispatcher.handle(ev.HostReady())

    (record,) = caplog.records
    assert (record.levelno, record.getMessage(), record.job_id) == (logging.WARNING, "100 % careful", 3)  # type: ignore[attr-defined]


async def test_the_failure_of_a_job_that_did_not_run_is_logged(
    dispatcher: Dispatcher, recorder: Recorder, caplog: pytest.LogCaptureFixture
):
    recorder.effects = [fx.PublishResult(failed_result(3, "100 % missing"), has_run=False), fx.PublishResult(RESULT)]
    await dispatcher.handle(ev.HostReady())

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "The job failed: 100 % missing")
    assert record.job_id == 3  # type: ignore[attr-defined]


async def test_the_worker_is_announced_by_name(dispatcher: Dispatcher, recorder: Recorder):
    await dispatcher.announce("worker_terminated")

    assert recorder.calls == [("publish", WorkerAnnouncement("worker_terminated", IDENTITY))]


def test_missing_paths_are_those_that_do_not_exist(tmp_path):
    link = tmp_path / "dangling"
    link.symlink_to("/no/such/file")

    assert missing_paths([str(tmp_path), "/no/such", str(link), "", "a\0b"]) == ["/no/such", str(link), "", "a\0b"]


def test_a_required_path_may_be_a_url_of_a_file(tmp_path):
    (tmp_path / "a b").touch()
    there = [(tmp_path / "a b").as_uri(), f"file:{tmp_path}/a b"]

    assert missing_paths([*there, f"{tmp_path}/a%20b", "http://host/a"]) == [f"{tmp_path}/a%20b", "http://host/a"]
