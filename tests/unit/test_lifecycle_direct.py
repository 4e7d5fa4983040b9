"""Direct messages: initialise, start, stop, update, expire, status, suspend; every one is answered at once."""

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Lane
from mcai_worker_sdk.protocol.responses import Activity, JobState, failed_result
from tests.unit.lifecycle_kit import Driver, cases, job, of_kind, results, without_warnings

BUSY = "Cannot initialize this job, an another job is already in progress."


def _published(effects: list) -> list:
    return [effect.result for effect in of_kind(effects, fx.PublishResult)]


def test_a_job_is_initialised_started_and_ended_by_direct_messages() -> None:
    driver = Driver()
    effects = driver.tell("init_process", 7, code="x")
    assert [type(effect) for effect in effects] == [fx.PauseJobs, cmd.InitialiseJob, fx.Settle]
    assert driver.feed(ev.JobInitialised(7)) == [fx.ReportJob(7, JobState.READY_TO_START)]
    started = driver.tell("start_process", 7, code="y")
    assert started[:2] == [fx.ReportJob(7, JobState.PROCESSING), fx.ReportProgression(7, 0)]
    assert [parameter.value for parameter in of_kind(started, cmd.StartJob)[0].parameters] == ["y"]
    ended = driver.end()
    assert results(ended) == [(7, JobState.COMPLETED)]
    assert ended[-1] == fx.ConsumeJobs()


def test_a_start_without_parameters_uses_those_of_init() -> None:
    started = Driver().initialised(7, code="x").tell("start_process", 7)
    assert [parameter.value for parameter in of_kind(started, cmd.StartJob)[0].parameters] == ["x"]


def test_a_start_that_comes_before_the_job_is_ready_waits_for_it() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    assert without_warnings(driver.tell("start_process", 7, code="y"))[:-1] == []
    effects = driver.feed(ev.JobInitialised(7))
    assert effects[:2] == [fx.ReportJob(7, JobState.READY_TO_START), fx.ReportJob(7, JobState.PROCESSING)]
    assert [parameter.value for parameter in of_kind(effects, cmd.StartJob)[0].parameters] == ["y"]


def test_a_start_without_init_fails() -> None:
    effects = Driver().tell("start_process", 7)
    assert _published(effects) == [failed_result(7, "Cannot start a not initialized job.")]


def test_a_start_of_another_job_fails_that_one_and_leaves_the_initialised_one() -> None:
    driver = Driver().initialised()
    assert results(driver.tell("start_process", 8)) == [(8, JobState.ERROR)]
    assert of_kind(driver.tell("start_process", 7), cmd.StartJob)


def test_a_second_start_changes_nothing() -> None:
    driver = Driver().initialised()
    driver.tell("start_process", 7)
    assert without_warnings(driver.tell("start_process", 7, code="z"))[:-1] == []


@pytest.mark.parametrize("order_type", ["stop_process", "reached_expiration"])
def test_a_start_behind_the_end_of_an_initialised_job_is_ignored(order_type: str) -> None:
    driver = Driver().initialised()
    driver.tell(order_type, 7)
    assert without_warnings(driver.tell("start_process", 7))[:-1] == []


def test_a_failed_initialisation_ends_the_job_and_the_next_one_is_taken() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    ended = driver.end(state=JobState.ERROR)
    assert results(ended) == [(7, JobState.ERROR)]
    assert ended[-1] == fx.ConsumeJobs()
    assert of_kind(driver.tell("init_process", 8), cmd.InitialiseJob)


def test_a_second_init_of_the_same_job_is_ignored() -> None:
    assert without_warnings(Driver().initialised().tell("init_process", 7))[:-1] == []


def test_an_init_while_a_queued_job_runs_fails_the_new_job_only() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    assert _published(driver.tell("init_process", 8)) == [failed_result(8, BUSY)]
    assert driver.end()[-1] == fx.Settle(delivery, Case.COMPLETED)


def test_a_late_word_of_the_host_about_a_job_that_is_gone_changes_nothing() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    driver.end(state=JobState.ERROR)
    driver.tell("init_process", 8)
    assert driver.feed(ev.JobInitialised(7)) == []
    assert driver.feed(ev.JobUpdated(7)) == []


def test_a_job_is_initialised_once() -> None:
    driver = Driver().initialised()
    assert driver.feed(ev.JobInitialised(7)) == []
    driver.tell("start_process", 7)
    assert driver.feed(ev.JobInitialised(7)) == []


def test_a_job_that_does_not_run_yet_has_no_progression() -> None:
    assert Driver().initialised().feed(ev.ProgressionReported(7, 5)) == []


# A job order as a direct message


def test_a_job_ordered_directly_runs_and_keeps_queued_orders_away() -> None:
    driver = Driver()
    _, effects = driver.deliver(job(), lane=Lane.DIRECT)
    assert [type(effect) for effect in effects] == [fx.PauseJobs, fx.ReportProgression, cmd.RunJob, fx.Settle]
    assert driver.end()[-1] == fx.ConsumeJobs()


@pytest.mark.parametrize("required", [["/a"], []])
def test_a_job_ordered_directly_while_another_is_in_hand_fails(required: list[str]) -> None:
    driver = Driver()
    driver.deliver(job())
    _, effects = driver.deliver(job(8, requires=required), lane=Lane.DIRECT)
    assert _published(effects) == [failed_result(8, BUSY)]


@pytest.mark.parametrize("lane", Lane)
def test_a_direct_order_of_the_job_in_hand_does_not_end_it(lane: Lane) -> None:
    driver = Driver()
    driver.deliver(job(), lane=lane)
    _, effects = driver.deliver(job(), lane=Lane.DIRECT, redelivered=True)
    assert without_warnings(effects)[:-1] == []
    assert results(driver.end()) == [(7, JobState.COMPLETED)]


def test_a_job_ordered_directly_fails_at_once_when_its_requirements_are_missing() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]), lane=Lane.DIRECT)
    effects = driver.feed(ev.RequirementsChecked(7, ["/a"]))
    assert _published(effects) == [failed_result(7, "The job's requirements do not exist: /a.")]
    assert effects[-1] == fx.ConsumeJobs()


def test_a_job_ordered_directly_runs_once_its_requirements_exist_whatever_the_link_does() -> None:
    driver = Driver()
    _, effects = driver.deliver(job(requires=["/a"]), lane=Lane.DIRECT)
    assert of_kind(effects, fx.CheckRequirements) == [fx.CheckRequirements(7, ("/a",))]
    driver.lose_link()
    assert of_kind(driver.feed(ev.RequirementsChecked(7, [])), cmd.RunJob)


def test_a_job_ordered_directly_with_bad_requirements_fails() -> None:
    order = {"job_id": 7, "parameters": [{"id": "requirements", "type": "requirements", "value": ["/a"]}]}
    driver = Driver()
    _, effects = driver.deliver(order, lane=Lane.DIRECT)
    assert results(effects) == [(7, JobState.ERROR)]
    assert driver.lifecycle.current_job_id is None


def test_an_order_that_met_a_direct_jobs_check_does_not_stop_the_worker_from_consuming() -> None:
    driver = Driver()
    driver.deliver(job(8, requires=["/a"]), lane=Lane.DIRECT)
    assert cases(driver.deliver(job())[1]) == [Case.ENGAGED]
    assert driver.feed(ev.RequirementsChecked(8, ["/a"]))[-1] == fx.ConsumeJobs()


# A direct message that comes again after the link was lost: it was obeyed when it came first


def _begin(driver: Driver, order_type: str | None, *, redelivered: bool) -> list:
    if order_type is None:
        return driver.deliver(job(), lane=Lane.DIRECT, redelivered=redelivered)[1]
    return driver.tell(order_type, 7, redelivered=redelivered)


BEGINNINGS = pytest.mark.parametrize("order_type", [None, "init_process", "start_process"])


@BEGINNINGS
@pytest.mark.parametrize("other", [None, 8])
def test_a_redelivered_message_that_begins_a_job_is_ignored(order_type: str | None, other: int | None) -> None:
    driver = Driver() if other is None else Driver().initialised(other)
    before = list(driver.effects)
    effects = _begin(driver, order_type, redelivered=True)
    assert [type(effect) for effect in effects] == [fx.Warn, fx.Settle]
    assert effects[0].job_id == 7
    assert cases(effects) == [Case.CONTROLLED]
    assert driver.effects == before + effects
    assert driver.lifecycle.current_job_id == other


@BEGINNINGS
def test_a_worker_that_ends_answers_a_redelivered_beginning_with_nothing_either(order_type: str | None) -> None:
    driver = Driver()
    driver.feed(ev.ShutdownRequested())
    assert without_warnings(_begin(driver, order_type, redelivered=True))[:-1] == []


@BEGINNINGS
def test_a_job_that_ended_does_not_begin_again_and_is_not_reported_again(order_type: str | None) -> None:
    driver = Driver()
    if order_type is None:
        driver.deliver(job(), lane=Lane.DIRECT)
    else:
        driver.initialised().tell("start_process", 7)
    driver.lose_link()
    driver.end()
    assert without_warnings(_begin(driver, order_type, redelivered=True))[:-1] == []
    assert results(driver.effects) == [(7, JobState.COMPLETED)]


@pytest.mark.parametrize(
    ("order_type", "kind"),
    [(None, cmd.RunJob), ("init_process", cmd.InitialiseJob), ("start_process", fx.PublishResult)],
)
def test_a_fresh_message_is_obeyed_even_behind_a_loss_of_the_link(order_type: str | None, kind: type) -> None:
    driver = Driver().initialised()
    driver.tell("start_process", 7)
    driver.end()
    driver.lose_link()
    assert len(of_kind(_begin(driver, order_type, redelivered=False), kind)) == 1


def test_a_redelivered_start_of_the_initialised_job_starts_it() -> None:
    assert of_kind(Driver().initialised().tell("start_process", 7, redelivered=True), cmd.StartJob)


@pytest.mark.parametrize(("order_type", "kind"), [("stop_process", cmd.StopJob), ("update_process", cmd.UpdateJob)])
def test_a_redelivered_message_about_the_job_in_hand_is_obeyed(order_type: str, kind: type) -> None:
    driver = Driver()
    driver.deliver(job())
    assert len(of_kind(driver.tell(order_type, 7, redelivered=True), kind)) == 1


# Stop, update, expire


@pytest.mark.parametrize(("job_id", "stopped"), [(7, True), (8, False)])
def test_only_the_job_that_is_named_is_stopped(job_id: int, stopped: bool) -> None:
    driver = Driver()
    driver.deliver(job())
    assert of_kind(driver.tell("stop_process", job_id), cmd.StopJob) == ([cmd.StopJob(7)] if stopped else [])


def test_a_stop_order_that_process_ignores_leaves_the_job_completed() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.tell("stop_process", 7)
    assert results(driver.end()) == [(7, JobState.COMPLETED)]


def test_a_stopped_initialised_job_is_discarded_and_the_worker_is_idle_again() -> None:
    driver = Driver().initialised()
    assert of_kind(driver.tell("stop_process", 7), cmd.DiscardJob) == [cmd.DiscardJob(7)]
    assert results(driver.end(state=JobState.STOPPED)) == [(7, JobState.STOPPED)]
    assert driver.lifecycle.current_job_id is None


@pytest.mark.parametrize("order_type", ["stop_process", "reached_expiration"])
def test_a_job_told_to_end_while_it_is_initialised_is_discarded_when_it_is_ready(order_type: str) -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    assert of_kind(driver.tell(order_type, 7), cmd.StopJob)
    assert driver.feed(ev.JobInitialised(7)) == [fx.ReportJob(7, JobState.READY_TO_START), cmd.DiscardJob(7)]


@pytest.mark.parametrize("direct", [True, False])
def test_an_update_goes_to_the_job_that_is_named(direct: bool) -> None:
    driver = Driver().initialised() if direct else Driver()
    if not direct:
        driver.deliver(job())
    (update,) = of_kind(driver.tell("update_process", 7, code="z"), cmd.UpdateJob)
    assert [parameter.value for parameter in update.parameters] == ["z"]
    assert not of_kind(driver.tell("update_process", 8), cmd.UpdateJob)
    assert driver.feed(ev.JobUpdated(7)) == [fx.ReportJob(7, JobState.UPDATED)]
    assert without_warnings(driver.feed(ev.JobUpdated(7, "no"))) == [fx.RefuseUpdate(7, "no")]


TOO_EARLY = "The job is still being prepared: the update is refused."


def test_an_update_of_a_job_that_is_still_initialised_is_refused_at_once_and_the_job_goes_on() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    assert without_warnings(driver.tell("update_process", 7))[:-1] == [fx.RefuseUpdate(7, TOO_EARLY)]
    assert without_warnings(driver.tell("update_process", 8))[:-1] == [], "another job's is nobody's here"
    assert driver.feed(ev.JobInitialised(7)) == [fx.ReportJob(7, JobState.READY_TO_START)]
    assert of_kind(driver.tell("update_process", 7), cmd.UpdateJob)


@pytest.mark.parametrize("lane", Lane)
def test_an_update_of_a_job_that_is_still_checked_is_refused_at_once_and_the_job_runs(lane: Lane) -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]), lane=lane)
    assert without_warnings(driver.tell("update_process", 7))[:-1] == [fx.RefuseUpdate(7, TOO_EARLY)]
    assert without_warnings(driver.tell("update_process", 8))[:-1] == [], "another job's is nobody's here"
    assert of_kind(driver.feed(ev.RequirementsChecked(7, [])), cmd.RunJob)


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.STOPPED, JobState.ERROR])
def test_an_expired_job_stops_and_ends_in_error_whatever_comes_of_it(state: JobState) -> None:
    driver = Driver()
    driver.deliver(job())
    assert of_kind(driver.tell("reached_expiration", 7), cmd.StopJob) == [cmd.StopJob(7)]
    assert _published(driver.end(state=state)) == [failed_result(7, "Job TTL has been reached.")]


def test_a_job_that_is_not_here_expires_at_once_and_leaves_the_one_that_is() -> None:
    driver = Driver()
    driver.deliver(job())
    assert _published(driver.tell("reached_expiration", 8)) == [failed_result(8, "Job TTL has been reached.")]
    assert results(driver.end()) == [(7, JobState.COMPLETED)]


# Status, suspend, resume


def test_the_status_tells_the_activity_and_the_job() -> None:
    driver = Driver()
    assert driver.tell("status")[0] == fx.ReportStatus(Activity.IDLE)
    driver.tell("init_process", 7)
    assert driver.tell("status")[0] == fx.ReportStatus(Activity.BUSY, 7, JobState.READY_TO_START)
    driver.feed(ev.JobInitialised(7))
    driver.tell("start_process", 7)
    assert driver.tell("status")[0] == fx.ReportStatus(Activity.BUSY, 7, JobState.PROCESSING)


def test_a_suspended_worker_pauses_answers_and_resumes() -> None:
    driver = Driver()
    assert driver.tell("stop_consuming_jobs")[:2] == [fx.PauseJobs(), fx.ReportStatus(Activity.SUSPENDED)]
    assert driver.tell("stop_consuming_jobs")[0] == fx.ReportStatus(Activity.SUSPENDED)
    assert driver.tell("resume_consuming_jobs")[:2] == [fx.ConsumeJobs(), fx.ReportStatus(Activity.IDLE)]
    assert driver.tell("resume_consuming_jobs")[0] == fx.ReportStatus(Activity.IDLE)


def test_a_job_runs_on_in_a_suspended_worker_and_no_other_is_taken_after_it() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job())
    driver.tell("stop_consuming_jobs")
    assert driver.tell("status")[0] == fx.ReportStatus(Activity.SUSPENDED, 7, JobState.PROCESSING)
    assert driver.end()[-1] == fx.Settle(delivery, Case.COMPLETED)


def test_a_worker_says_whether_it_takes_jobs() -> None:
    driver = Driver(ready=False)
    assert not driver.lifecycle.is_taking_jobs
    driver.feed(ev.HostReady())
    assert driver.lifecycle.is_taking_jobs
    driver.tell("stop_consuming_jobs")
    assert not driver.lifecycle.is_taking_jobs


def test_a_worker_whose_host_is_not_ready_does_not_consume_when_it_is_told_to_resume() -> None:
    assert not of_kind(Driver(ready=False).tell("resume_consuming_jobs"), fx.ConsumeJobs)
