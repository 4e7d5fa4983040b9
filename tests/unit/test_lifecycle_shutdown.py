"""The worker ends: shutdown, grace, the last job, a host that is gone."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobState, failed_result
from tests.unit.lifecycle_kit import Driver, cases, job, of_kind, results, sent_back


def _out_of_grace(*orders: str) -> tuple[Driver, Delivery]:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    driver.feed(ev.ShutdownRequested())
    for order_type in orders:
        driver.tell(order_type, 7)
    assert driver.feed(ev.GraceExpired()) == [cmd.StopJob(7)]
    return driver, delivery


def _ends(effects: list[Effect]) -> bool:
    return effects[-1:] == [fx.Terminate()]


def test_an_idle_worker_ends_at_once() -> None:
    assert Driver().feed(ev.ShutdownRequested()) == [fx.PauseJobs(), fx.Terminate()]


def test_stop_worker_is_acknowledged_before_the_worker_ends() -> None:
    assert [type(effect) for effect in Driver().tell("stop_worker")] == [fx.Settle, fx.PauseJobs, fx.Terminate]


def test_a_second_request_changes_nothing() -> None:
    driver = Driver()
    driver.feed(ev.ShutdownRequested())
    assert driver.feed(ev.ShutdownRequested()) == []
    assert [type(effect) for effect in driver.tell("stop_worker")] == [fx.Settle]


def test_the_running_job_may_finish_and_is_reported_before_the_worker_ends() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    assert driver.feed(ev.ShutdownRequested()) == [fx.PauseJobs(), fx.Drain()]
    assert driver.feed(ev.ProgressionReported(7, 80)) == [fx.ReportProgression(7, 80)]
    ended = driver.end()
    assert results(ended) == [(7, JobState.COMPLETED)]
    assert ended[1:] == [fx.Settle(delivery, Case.COMPLETED), fx.Terminate()]


# Grace


def _running() -> Driver:
    driver = Driver()
    driver.deliver(job())
    return driver


def _initialising() -> Driver:
    driver = Driver()
    driver.tell("init_process", 7)
    return driver


def _checking() -> Driver:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    return driver


SHUTDOWNS = pytest.mark.parametrize("by_order", [True, False], ids=["stop_worker", "signal"])


def _shut_down(driver: Driver, *, by_order: bool) -> list[Effect]:
    return driver.tell("stop_worker") if by_order else driver.feed(ev.ShutdownRequested())


@SHUTDOWNS
@pytest.mark.parametrize("begin", [_running, _initialising, lambda: Driver().initialised()])
def test_the_job_in_hand_gets_its_grace_once_however_the_worker_is_told_to_end(
    begin: Callable[[], Driver], by_order: bool
) -> None:
    driver = begin()
    assert of_kind(_shut_down(driver, by_order=by_order), fx.Drain) == [fx.Drain()]
    assert not of_kind(driver.effects, fx.Terminate)
    _shut_down(driver, by_order=by_order)
    _shut_down(driver, by_order=not by_order)
    assert len(of_kind(driver.effects, fx.Drain)) == 1


@SHUTDOWNS
@pytest.mark.parametrize("begin", [Driver, _checking])
def test_a_worker_without_a_job_that_began_needs_no_grace(begin: Callable[[], Driver], by_order: bool) -> None:
    driver = begin()
    assert _ends(_shut_down(driver, by_order=by_order))
    assert not of_kind(driver.effects, fx.Drain)


def test_neither_the_last_job_nor_a_host_that_is_gone_asks_for_grace() -> None:
    last, gone = Driver(max_jobs=1), _running()
    last.deliver(job())
    last.end()
    gone.feed(ev.HostFailed("it died"))
    assert not of_kind([*last.effects, *gone.effects], fx.Drain)


def test_a_job_runs_out_of_the_grace_of_stop_worker_and_is_given_back() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    assert [type(effect) for effect in driver.tell("stop_worker")] == [fx.Settle, fx.PauseJobs, fx.Drain]
    assert driver.feed(ev.GraceExpired()) == [cmd.StopJob(7)]
    assert driver.end(state=JobState.STOPPED) == [*sent_back(delivery, Case.SHUTTING_DOWN), fx.Terminate()]


@pytest.mark.parametrize("state", [JobState.STOPPED, JobState.ERROR])
def test_a_job_out_of_grace_is_given_back_without_a_word(state: JobState) -> None:
    driver, delivery = _out_of_grace()
    assert driver.end(state=state) == [*sent_back(delivery, Case.SHUTTING_DOWN), fx.Terminate()]


def test_a_job_out_of_grace_that_completes_is_reported() -> None:
    driver, delivery = _out_of_grace()
    ended = driver.end()
    assert results(ended) == [(7, JobState.COMPLETED)]
    assert ended[1:] == [fx.Settle(delivery, Case.COMPLETED), fx.Terminate()]


@pytest.mark.parametrize(
    ("order_type", "state"), [("stop_process", JobState.STOPPED), ("reached_expiration", JobState.ERROR)]
)
def test_a_job_out_of_grace_that_was_told_to_end_is_reported_and_not_run_again(
    order_type: str, state: JobState
) -> None:
    driver, _ = _out_of_grace(order_type)
    ended = driver.end(state=JobState.STOPPED)
    assert results(ended) == [(7, state)]
    assert _ends(ended)


def test_a_job_out_of_grace_without_its_link_is_left_to_the_broker() -> None:
    driver, _ = _out_of_grace()
    assert driver.lose_link() == [fx.ConsumeJobs()], "a job that completes all the same acknowledges it"
    assert driver.end(state=JobState.STOPPED) == [fx.PauseJobs(), fx.Terminate()]


def test_grace_means_nothing_to_an_idle_worker() -> None:
    driver = Driver()
    driver.feed(ev.ShutdownRequested())
    assert driver.feed(ev.GraceExpired()) == []


def test_an_initialised_job_is_discarded_and_reported() -> None:
    driver = Driver().initialised()
    assert driver.feed(ev.ShutdownRequested()) == [cmd.DiscardJob(7), fx.Drain()]
    ended = driver.end(state=JobState.STOPPED)
    assert results(ended) == [(7, JobState.STOPPED)]
    assert _ends(ended)


def test_a_job_that_is_still_initialised_is_discarded_when_it_is_ready() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    driver.tell("start_process", 7)
    driver.feed(ev.ShutdownRequested())
    assert driver.feed(ev.JobInitialised(7))[-1] == cmd.DiscardJob(7)
    assert _ends(driver.end(state=JobState.STOPPED))


def test_an_initialised_job_is_not_started_any_more() -> None:
    driver = Driver().initialised()
    driver.feed(ev.ShutdownRequested())
    assert not of_kind(driver.tell("start_process", 7), cmd.StartJob)


# A job that is still checked


LATE = pytest.mark.parametrize(
    "late",
    [ev.RequirementsChecked(7, []), ev.RequirementsChecked(7, ["/a"]), ev.GraceExpired()],
    ids=["it may run", "a path is missing", "grace is over"],
)


@SHUTDOWNS
@LATE
def test_a_direct_job_that_did_not_run_yet_is_reported_stopped_at_once(by_order: bool, late: ev.Event) -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]), lane=Lane.DIRECT)
    ended = _shut_down(driver, by_order=by_order)
    assert results(ended) == [(7, JobState.STOPPED)]
    assert _ends(ended)
    assert driver.feed(late) == []
    assert not of_kind(driver.effects, cmd.RunJob)


@SHUTDOWNS
@LATE
def test_a_queued_job_that_did_not_run_yet_is_given_back_at_once(by_order: bool, late: ev.Event) -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job(requires=["/a"]))
    ended = _shut_down(driver, by_order=by_order)
    assert ended[by_order:] == [fx.PauseJobs(), *sent_back(delivery, Case.SHUTTING_DOWN), fx.Terminate()]
    assert driver.lifecycle.current_job_id is None
    assert driver.feed(late) == []
    assert not of_kind(driver.effects, cmd.RunJob)


@SHUTDOWNS
def test_a_job_given_back_whose_link_is_lost_first_is_not_left_twice(by_order: bool) -> None:
    """Its copy is published on the next link; the order, which the broker takes back, must not stay beside it."""
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    _shut_down(driver, by_order=by_order)
    assert driver.lose_link() == [fx.Stay(), fx.ConsumeJobs()]
    driver.feed(ev.LinkRestored())
    back, effects = driver.deliver(job(requires=["/a"]), redelivered=True)
    assert effects == [fx.PauseJobs(), fx.Settle(back, Case.REPORTED), fx.Terminate()]


def test_a_queued_job_that_did_not_run_yet_goes_with_the_link_and_the_worker_ends_idle() -> None:
    driver = _checking()
    assert driver.lose_link() == []
    assert driver.feed(ev.ShutdownRequested()) == [fx.PauseJobs(), fx.Terminate()]


def test_a_worker_that_ends_takes_no_more_jobs() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.feed(ev.ShutdownRequested())
    assert results(driver.tell("init_process", 8)) == [(8, JobState.ERROR)]
    assert results(driver.deliver(job(9), lane=Lane.DIRECT)[1]) == [(9, JobState.ERROR)]
    driver.end()
    assert results(driver.tell("init_process", 8)) == [(8, JobState.ERROR)]
    assert results(driver.deliver(job(9), lane=Lane.DIRECT)[1]) == [(9, JobState.ERROR)]
    assert cases(driver.deliver(job(10))[1]) == [Case.SHUTTING_DOWN]
    assert driver.feed(ev.HostReady()) == []
    assert not of_kind(driver.tell("resume_consuming_jobs"), fx.ConsumeJobs)


def test_a_worker_that_was_told_to_end_before_its_host_was_ready_announces_nothing() -> None:
    driver = Driver(ready=False)
    assert driver.feed(ev.ShutdownRequested()) == [fx.Terminate()]
    assert driver.feed(ev.HostReady()) == []


# The last job


def test_a_worker_with_a_limit_ends_after_so_many_jobs_and_pauses_before_the_acknowledgement() -> None:
    driver = Driver(max_jobs=2)
    driver.deliver(job())
    assert not of_kind(driver.end(), fx.Terminate)
    driver.deliver(job(8))
    ended = driver.end(8, JobState.ERROR)
    assert [type(effect) for effect in ended] == [fx.PauseJobs, fx.PublishResult, fx.Settle, fx.Terminate]


@pytest.mark.parametrize("order_type", ["stop_process", "reached_expiration"])
@pytest.mark.parametrize("lane", Lane)
def test_the_order_that_ends_the_last_job_before_it_ran_is_settled_before_the_worker_ends(
    order_type: str, lane: Lane
) -> None:
    driver = Driver(max_jobs=1)
    driver.deliver(job(requires=["/a"]), lane=lane)
    effects = driver.tell(order_type, 7)
    assert len(of_kind(effects, fx.PublishResult)) == 1
    assert cases(effects)[-1] is Case.CONTROLLED
    assert [type(effect) for effect in effects[-2:]] == [fx.Settle, fx.Terminate]


def test_orders_that_did_not_run_do_not_count_as_jobs() -> None:
    driver = Driver(max_jobs=1)
    driver.deliver(b"{")
    driver.deliver(job(), redelivered=True)
    driver.deliver(job(), attempts=9)
    assert not of_kind(driver.effects, fx.Terminate)


# The host is gone


def test_a_worker_whose_host_is_gone_gives_its_job_back_and_fails() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    effects = driver.feed(ev.HostFailed("setup() failed"))
    assert effects == [fx.PauseJobs(), *sent_back(delivery, Case.SHUTTING_DOWN), fx.Terminate(exit_code=1)]


def test_a_direct_job_cannot_be_given_back_and_is_reported() -> None:
    effects = Driver().initialised().feed(ev.HostFailed("it died"))
    assert effects == [fx.PublishResult(failed_result(7, "it died")), fx.Terminate(exit_code=1)]


def test_a_queued_job_without_its_link_is_left_to_the_broker() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.lose_link()
    assert driver.feed(ev.HostFailed("it died")) == [fx.PauseJobs(), fx.Terminate(exit_code=1)]


def test_a_worker_that_never_came_up_ends_with_an_error() -> None:
    assert Driver(ready=False).feed(ev.HostFailed("setup() failed")) == [fx.Terminate(exit_code=1)]
