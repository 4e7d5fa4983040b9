"""How long an order that is done with is remembered, and when a worker waits for one before it pauses or ends."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.reported import ReportedOrders
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.lifecycle_kit import Driver, cases, job, of_kind, results, sent_back


def restore(driver: Driver) -> list[Effect]:
    return driver.feed(ev.LinkRestored())


def alarms(effects: list[Effect]) -> list[fx.AwaitReturn]:
    return of_kind(effects, fx.AwaitReturn)


def overdue(driver: Driver) -> list[Effect]:
    """The clock answers what it was asked last."""
    return driver.feed(ev.ReturnOverdue(alarms(driver.effects)[-1].number))


def kinds(effects: list[Effect]) -> list[type[Effect]]:
    return [type(effect) for effect in effects]


def failed_before_the_loss(**options: int) -> Driver:
    """A job failed and was acknowledged; whether that arrived nobody knows."""
    driver = Driver(**options)
    driver.deliver(job())
    driver.end(state=JobState.ERROR)
    driver.lose_link()
    return driver


def ended_without_link(**options: int) -> Driver:
    driver = Driver(**options)
    driver.deliver(job())
    driver.lose_link()
    driver.end(state=JobState.ERROR)
    return driver


ENDED = pytest.mark.parametrize("ended", [failed_before_the_loss, ended_without_link])

# How long it is remembered


@ENDED
def test_a_retry_that_another_worker_gave_back_is_not_taken_for_an_order_that_is_overdue(
    ended: Callable[[], Driver],
) -> None:
    driver = ended()
    restore(driver)
    assert overdue(driver) == []
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REDELIVERED]
    driver.deliver(job(), attempts=1)
    assert driver.lifecycle.current_job_id == 7, "it runs"


@ENDED
def test_an_order_that_comes_back_before_it_is_overdue_is_recognised(ended: Callable[[], Driver]) -> None:
    driver = ended()
    restore(driver)
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


@ENDED
def test_the_clock_is_asked_once_the_link_is_back(ended: Callable[[], Driver]) -> None:
    driver = ended()
    assert not alarms(driver.effects)
    (alarm,) = alarms(restore(driver))
    assert not alarm.brief
    assert not alarms(driver.tell("status")), "and once"


def test_nothing_is_awaited_where_nothing_is_done_with() -> None:
    driver = Driver()
    driver.lose_link()
    assert not alarms(restore(driver))


@ENDED
def test_an_answer_of_the_clock_to_an_older_question_lets_nothing_lapse(ended: Callable[[], Driver]) -> None:
    driver = ended()
    (first,) = alarms(restore(driver))
    driver.lose_link()
    restore(driver)
    assert driver.feed(ev.ReturnOverdue(first.number)) == []
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


@ENDED
def test_an_order_behind_others_of_higher_priority_is_still_recognised_after_long_jobs(
    ended: Callable[[], Driver],
) -> None:
    driver = ended()
    (first,) = alarms(restore(driver))
    for job_id in (8, 9):
        driver.deliver(job(job_id))
        assert driver.feed(ev.ReturnOverdue(first.number)) == [], "a busy worker is not given what waits"
        assert alarms(driver.end(job_id)), "idle again, it waits anew"
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


def test_of_two_orders_that_may_come_back_the_second_is_waited_for_anew() -> None:
    driver = Driver()
    for job_id in (7, 8):
        driver.deliver(job(job_id))
        driver.lose_link()
        driver.end(job_id)
    (first,) = alarms(restore(driver))
    _, effects = driver.deliver(job(7), redelivered=True)
    assert alarms(effects), "something came: the other may be the next"
    assert driver.feed(ev.ReturnOverdue(first.number)) == []
    assert cases(driver.deliver(job(8), redelivered=True)[1]) == [Case.REPORTED]


@ENDED
def test_a_worker_that_does_not_consume_waits_for_nothing(ended: Callable[[], Driver]) -> None:
    driver = ended()
    driver.initialised(8)
    assert not alarms(restore(driver))
    driver.end(8)
    assert alarms(driver.effects)


@ENDED
def test_an_order_that_so_many_others_overtook_is_forgotten(ended: Callable[[], Driver]) -> None:
    driver = ended()
    restore(driver)
    for job_id in range(100, 100 + ReportedOrders.OVERTAKERS):
        driver.deliver(job(job_id))
        driver.end(job_id)
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REDELIVERED]


@ENDED
def test_an_order_that_almost_as_many_overtook_is_not(ended: Callable[[], Driver]) -> None:
    driver = ended()
    restore(driver)
    for job_id in range(100, 99 + ReportedOrders.OVERTAKERS):
        driver.deliver(job(job_id))
        driver.end(job_id)
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


# A worker that takes no more orders waits for its own


def draining() -> Driver:
    driver = Driver()
    driver.deliver(job())
    driver.feed(ev.ShutdownRequested())
    return driver


def suspended() -> Driver:
    driver = Driver()
    driver.deliver(job())
    driver.tell("stop_consuming_jobs")
    return driver


NOT_TAKING = pytest.mark.parametrize("begin", [draining, suspended])


@NOT_TAKING
def test_a_job_that_loses_its_order_is_given_it_back_and_no_other(begin: Callable[[], Driver]) -> None:
    driver = begin()
    assert driver.lose_link() == [fx.ConsumeJobs()]
    assert not driver.lifecycle.is_taking_jobs
    adopted, effects = driver.deliver(job(), redelivered=True)
    assert effects == [fx.PauseJobs()]
    assert fx.Settle(adopted, Case.COMPLETED) in driver.end()


@NOT_TAKING
def test_a_foreign_order_meanwhile_is_put_back_once_and_ends_the_waiting(begin: Callable[[], Driver]) -> None:
    driver = begin()
    driver.lose_link()
    restore(driver)
    _, effects = driver.deliver(job(8))
    assert kinds(effects) == [fx.PauseJobs, fx.Delay, fx.Settle]
    assert of_kind(effects, fx.Settle)[0].case in (Case.ENGAGED, Case.SHUTTING_DOWN)
    assert not of_kind(driver.end(), fx.ConsumeJobs)


def test_a_suspended_worker_waits_for_the_order_of_a_job_that_ended_without_its_link() -> None:
    driver = suspended()
    driver.lose_link()
    driver.end()
    restore(driver)
    back, effects = driver.deliver(job(), redelivered=True)
    assert effects == [fx.PauseJobs(), fx.Settle(back, Case.REPORTED)], "paused before the next order comes"


def test_a_suspended_worker_that_waits_puts_other_orders_back_unrun() -> None:
    driver = suspended()
    driver.lose_link()
    driver.end()
    restore(driver)
    foreign, effects = driver.deliver(job(8))
    assert effects == [fx.PauseJobs(), *sent_back(foreign, Case.SUSPENDED, job_id=8)]


def test_a_suspended_worker_pauses_when_its_order_is_overdue() -> None:
    driver = suspended()
    driver.lose_link()
    driver.end()
    restore(driver)
    assert overdue(driver) == [fx.PauseJobs()]


def test_a_suspended_worker_has_waited_too_briefly_to_forget() -> None:
    driver = suspended()
    driver.lose_link()
    driver.end()
    restore(driver)
    assert alarms(driver.effects)[-1].brief
    overdue(driver)
    driver.tell("resume_consuming_jobs")
    assert not alarms(driver.effects)[-1].brief, "taking orders again, it waits long enough"
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


def test_an_order_that_was_on_its_way_when_the_queue_was_paused_still_runs() -> None:
    driver = Driver()
    driver.tell("stop_consuming_jobs")
    assert of_kind(driver.deliver(job())[1], cmd.RunJob)


# The end of the worker


def last_job_ended_without_link() -> Driver:
    return ended_without_link(max_jobs=1)


def drained_without_link() -> Driver:
    driver = draining()
    driver.lose_link()
    driver.end()
    return driver


def drained_with_an_order_to_come() -> Driver:
    driver = ended_without_link()
    driver.feed(ev.ShutdownRequested())
    return driver


ENDING = pytest.mark.parametrize(
    "end", [last_job_ended_without_link, drained_without_link, drained_with_an_order_to_come]
)


@ENDING
def test_the_last_order_is_waited_for_and_acknowledged_before_the_worker_ends(end: Callable[[], Driver]) -> None:
    driver = end()
    assert len(results(driver.effects)) == 1
    assert not of_kind(driver.effects, fx.Terminate)
    (alarm,) = alarms(restore(driver))
    assert alarm.brief
    back, effects = driver.deliver(job(), redelivered=True)
    assert effects == [fx.PauseJobs(), fx.Settle(back, Case.REPORTED), fx.Terminate()]


@ENDING
def test_a_worker_that_ends_waits_for_its_order_no_longer_than_it_takes(end: Callable[[], Driver]) -> None:
    driver = end()
    restore(driver)
    assert overdue(driver) == [fx.PauseJobs(), fx.Terminate()]


@ENDING
def test_a_foreign_order_ends_the_waiting_and_the_worker(end: Callable[[], Driver]) -> None:
    driver = end()
    restore(driver)
    foreign, effects = driver.deliver(job(8))
    assert effects == [fx.PauseJobs(), *sent_back(foreign, Case.SHUTTING_DOWN, job_id=8), fx.Terminate()]


@ENDING
def test_the_grace_bounds_the_waiting_while_the_broker_is_away(end: Callable[[], Driver]) -> None:
    assert end().feed(ev.GraceExpired()) == [fx.PauseJobs(), fx.Terminate()]


@ENDING
def test_a_worker_that_waits_for_its_end_begins_nothing(end: Callable[[], Driver]) -> None:
    driver = end()
    assert driver.tell("resume_consuming_jobs")[0] == driver.tell("status")[0]
    assert results(driver.tell("init_process", 8)) == [(8, JobState.ERROR)]
    assert not driver.lifecycle.is_taking_jobs


def test_a_worker_told_to_end_while_it_waits_asks_the_clock_for_less() -> None:
    driver = ended_without_link()
    restore(driver)
    effects = driver.feed(ev.ShutdownRequested())
    assert [alarm.brief for alarm in alarms(effects)] == [True]


def test_an_idle_worker_whose_last_acknowledgement_may_be_lost_ends_at_once() -> None:
    driver = failed_before_the_loss()
    assert driver.feed(ev.ShutdownRequested()) == [fx.PauseJobs(), fx.Terminate()]


def test_an_order_that_others_overtook_keeps_no_worker_from_its_end() -> None:
    driver = ended_without_link()
    restore(driver)
    driver.deliver(job(8))
    driver.end(8)
    assert driver.feed(ev.ShutdownRequested()) == [fx.PauseJobs(), fx.Terminate()]


@pytest.mark.parametrize("limits", [{"max_jobs": 1}, {}], ids=["the last job", "drained"])
def test_the_end_is_taken_back_when_the_link_is_lost_before_the_last_settlement(limits: dict[str, int]) -> None:
    driver = Driver(**limits)
    driver.deliver(job())
    if not limits:
        driver.feed(ev.ShutdownRequested())
    assert driver.end()[-1] == fx.Terminate()
    # The supervisor ends only once everything is settled: this loss came before.
    assert driver.lose_link() == [fx.Stay(), fx.ConsumeJobs()]
    restore(driver)
    back, effects = driver.deliver(job(), redelivered=True)
    assert effects == [fx.PauseJobs(), fx.Settle(back, Case.REPORTED), fx.Terminate()]


def test_a_worker_whose_host_is_gone_waits_for_nothing() -> None:
    driver = ended_without_link()
    assert driver.feed(ev.HostFailed("it died")) == [fx.PauseJobs(), fx.Terminate(exit_code=1)]
    assert driver.lose_link() == []
    assert not alarms(restore(driver))


# One order at a time


def test_a_worker_that_is_resumed_while_its_job_runs_fetches_no_second_order() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    driver.tell("stop_consuming_jobs")
    assert not of_kind(driver.tell("resume_consuming_jobs"), fx.ConsumeJobs)
    assert driver.lifecycle.is_taking_jobs
    assert driver.end()[1:] == [fx.Settle(delivery, Case.COMPLETED), fx.ConsumeJobs()]


def test_a_worker_that_is_resumed_while_requirements_are_looked_for_fetches_no_second_order() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    driver.tell("stop_consuming_jobs")
    assert not of_kind(driver.tell("resume_consuming_jobs"), fx.ConsumeJobs)
    assert kinds(driver.feed(ev.RequirementsChecked(7, ["/a"])))[-2:] == [fx.Settle, fx.ConsumeJobs]


def test_a_resumed_worker_whose_running_job_loses_its_order_consumes_to_find_it_again() -> None:
    driver = suspended()
    driver.tell("resume_consuming_jobs")
    assert driver.lose_link() == [fx.ConsumeJobs()]
    assert driver.deliver(job(), redelivered=True)[1] == []
