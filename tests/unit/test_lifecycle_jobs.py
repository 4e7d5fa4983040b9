"""Jobs of the job queue: their way from order to result, requirements, attempts, black list."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Lane
from mcai_worker_sdk.protocol.orders import parse_order
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter, failed_result
from mcai_worker_sdk.protocol.texts import MESSAGE_LIMIT_BYTES
from tests.unit.lifecycle_kit import Driver, control, job, of_kind, results, sent_back, without_warnings


def test_a_job_goes_from_order_to_result() -> None:
    driver = Driver()
    delivery, effects = driver.deliver(job(code="x"))
    order = parse_order(delivery.body)
    assert effects == [fx.ReportProgression(7, 0), cmd.RunJob(7, order.parameters)]
    assert driver.lifecycle.current_job_id == 7
    assert driver.feed(ev.ProgressionReported(7, 40)) == [fx.ReportProgression(7, 40)]
    result = JobResult(7, JobState.COMPLETED, ("/out",), (ResultParameter("n", "int", 3),))
    assert driver.feed(ev.JobEnded(result)) == [fx.PublishResult(result), fx.Settle(delivery, Case.COMPLETED)]
    assert driver.lifecycle.current_job_id is None


def test_a_media_worker_announces_the_start_of_queued_jobs_too() -> None:
    _, effects = Driver(announces_start=True).deliver(job())
    assert effects[0] == fx.ReportJob(7, JobState.PROCESSING)


def test_the_worker_says_that_it_takes_jobs_once_its_host_is_ready() -> None:
    driver = Driver(ready=False)
    assert driver.feed(ev.HostReady()) == [fx.ConsumeJobs(), fx.AnnounceCreated()]
    assert driver.feed(ev.HostReady()) == [], "a job process that was replaced is no new worker"


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.STOPPED, JobState.ERROR])
def test_no_progression_follows_a_result(state: JobState) -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end(state=state)
    assert driver.feed(ev.ProgressionReported(7, 99)) == []


def test_a_progression_of_another_job_is_dropped() -> None:
    driver = Driver()
    driver.deliver(job())
    assert driver.feed(ev.ProgressionReported(8, 50)) == []


def test_an_end_of_a_job_that_is_not_in_hand_is_logged_and_nothing_else() -> None:
    driver = Driver()
    driver.deliver(job())
    assert of_kind(driver.end(8), fx.Warn) == driver.effects[-1:]
    assert driver.lifecycle.current_job_id == 7


def test_a_second_end_of_a_job_publishes_nothing() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end()
    assert without_warnings(driver.end()) == []


def test_the_same_job_may_run_again_when_it_is_ordered_again() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end(state=JobState.ERROR)
    _, effects = driver.deliver(job())
    assert of_kind(effects, cmd.RunJob) == [cmd.RunJob(7, ())]


# Requirements


def test_requirements_are_looked_for_before_anything_is_published() -> None:
    _, effects = Driver().deliver(job(requires=["/a", "/b"]))
    assert effects == [fx.CheckRequirements(7, ("/a", "/b"))]


def test_a_job_whose_requirements_exist_runs() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    effects = driver.feed(ev.RequirementsChecked(7, []))
    assert [type(effect) for effect in effects] == [fx.ReportProgression, cmd.RunJob]


def test_a_job_that_requires_no_path_runs_at_once() -> None:
    _, effects = Driver().deliver(job(requires=[]))
    assert of_kind(effects, cmd.RunJob)


def test_a_job_whose_requirements_are_missing_goes_through_the_delay_queue_without_a_word() -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job(requires=["/a"]), soft_rejects=3)
    effects = driver.feed(ev.RequirementsChecked(7, ["/a"]))
    assert without_warnings(effects) == sent_back(delivery, Case.REQUIREMENTS_MISSING, Count.SOFT_REJECTS)
    assert "/a" in of_kind(effects, fx.Warn)[0].message
    assert driver.lifecycle.current_job_id is None


def test_other_jobs_run_while_one_waits_for_its_requirements() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    driver.feed(ev.RequirementsChecked(7, ["/a"]))
    _, effects = driver.deliver(job(8))
    assert of_kind(effects, cmd.RunJob) == [cmd.RunJob(8, ())]


def test_an_order_that_waited_too_long_fails_and_names_its_paths() -> None:
    driver = Driver(soft_limit=2)
    delivery, _ = driver.deliver(job(requires=["/a", "/b"]), soft_rejects=2)
    effects = driver.feed(ev.RequirementsChecked(7, ["/a", "/b"]))
    expected = failed_result(7, "The job's requirements do not exist: /a, /b.")
    assert effects == [
        fx.PublishResult(expected, has_run=False),
        fx.Settle(delivery, Case.REQUIREMENTS_LIMIT),
    ]


@pytest.mark.parametrize("soft_rejects", [0, 800], ids=["to be waited for", "given up"])
def test_a_great_many_missing_paths_are_told_in_few_words(soft_rejects: int) -> None:
    driver = Driver()
    paths = [f"/a/{number}" for number in range(100_000)]
    driver.deliver(job(requires=paths), soft_rejects=soft_rejects)
    effects = driver.feed(ev.RequirementsChecked(7, paths))
    texts = [effect.message for effect in of_kind(effects, fx.Warn)]
    texts += [effect.result.message for effect in of_kind(effects, fx.PublishResult)]
    (text,) = texts
    assert "/a/0, /a/1, " in text
    assert len(text) < MESSAGE_LIMIT_BYTES + 100


def test_an_answer_about_requirements_of_another_job_is_dropped() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    assert driver.feed(ev.RequirementsChecked(8, [])) == []
    assert driver.feed(ev.RequirementsChecked(7, []))
    assert driver.feed(ev.RequirementsChecked(7, ["/a"])) == [], "the job runs already"


@pytest.mark.parametrize(
    ("order_type", "state"), [("stop_process", JobState.STOPPED), ("reached_expiration", JobState.ERROR)]
)
@pytest.mark.parametrize("missing", [[], ["/a"]])
def test_a_job_told_to_end_while_its_requirements_are_looked_for_ends_at_once_and_never_runs(
    order_type: str, state: JobState, missing: list[str]
) -> None:
    driver = Driver()
    delivery, _ = driver.deliver(job(requires=["/a"]))
    effects = driver.tell(order_type, 7)
    assert results(effects) == [(7, state)]
    assert [type(effect) for effect in effects] == [fx.PublishResult, fx.Settle, fx.Settle]
    assert effects[1] == fx.Settle(delivery, Case.STOPPED if state is JobState.STOPPED else Case.FAILED)
    assert driver.lifecycle.current_job_id is None
    assert driver.feed(ev.RequirementsChecked(7, missing)) == [], "the answer comes too late"
    assert not of_kind(driver.effects, cmd.RunJob)


def test_a_job_that_expires_while_its_requirements_are_looked_for_says_so() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    (publication,) = of_kind(driver.tell("reached_expiration", 7), fx.PublishResult)
    assert publication.result == failed_result(7, "Job TTL has been reached.")


@pytest.mark.parametrize(
    ("order_type", "state"), [("stop_process", JobState.STOPPED), ("reached_expiration", JobState.ERROR)]
)
def test_a_direct_job_told_to_end_while_its_requirements_are_looked_for_makes_room_at_once(
    order_type: str, state: JobState
) -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]), lane=Lane.DIRECT)
    effects = driver.tell(order_type, 7)
    assert [type(effect) for effect in effects] == [fx.PublishResult, fx.ConsumeJobs, fx.Settle]
    assert results(effects) == [(7, state)]
    assert of_kind(driver.deliver(job(8))[1], cmd.RunJob)
    assert driver.feed(ev.RequirementsChecked(7, [])) == []


def test_only_the_job_that_is_named_ends_while_requirements_are_looked_for() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    assert results(driver.tell("stop_process", 8)) == []
    assert results(driver.tell("reached_expiration", 8)) == [(8, JobState.ERROR)]
    assert of_kind(driver.feed(ev.RequirementsChecked(7, [])), cmd.RunJob)


# Attempts


@pytest.mark.parametrize(("attempts", "runs"), [(0, True), (4, True), (5, False)])
def test_an_order_is_attempted_as_often_again_as_the_limit_says(attempts: int, runs: bool) -> None:
    _, effects = Driver().deliver(job(), attempts=attempts)
    assert bool(of_kind(effects, cmd.RunJob)) is runs


def test_an_order_given_up_says_how_often_it_came_back_and_where_to_look() -> None:
    _, effects = Driver(ttl_limit=1).deliver(job(), attempts=2)
    (result,) = [effect.result for effect in of_kind(effects, fx.PublishResult)]
    assert result.message is not None
    assert "came back 2 times without a result" in result.message
    assert "MESSAGE_TTL_LIMIT is 1" in result.message
    assert "logs" in result.message


@pytest.mark.parametrize("returns", [0, 1, 20], ids=["classic queue", "quorum queue", "at its delivery limit"])
def test_an_order_that_was_lost_goes_through_the_delay_queue_as_a_copy_that_counts_it(returns: int) -> None:
    """So that a quorum queue, which counts for itself and drops what comes back too often, has nothing to count."""
    driver = Driver()
    delivery, effects = driver.deliver(job(), redelivered=True, attempts=2, returns=returns)
    assert without_warnings(effects) == sent_back(delivery, Case.REDELIVERED, Count.ATTEMPTS)
    assert driver.lifecycle.current_job_id is None


def test_an_order_that_the_broker_says_was_given_back_was_not_attempted() -> None:
    driver = Driver(ttl_limit=0)
    _, effects = driver.deliver(job(), redelivered=True, given_back=True)
    assert of_kind(effects, cmd.RunJob)
    foreign, effects = driver.deliver(job(8), redelivered=True, given_back=True)
    assert without_warnings(effects)[1:] == sent_back(foreign, Case.ENGAGED, job_id=8), "nor is it by being put back"


@pytest.mark.parametrize("put_backs", [0, 1000])
def test_an_order_that_was_given_back_in_good_order_was_not_attempted(put_backs: int) -> None:
    _, effects = Driver(ttl_limit=0).deliver(job(), put_backs=put_backs)
    assert of_kind(effects, cmd.RunJob)


# Black list


def test_a_black_listed_job_is_dropped_and_the_backend_hears_of_it() -> None:
    driver = Driver()
    driver.tell("add_to_black_list", 7)
    delivery, effects = driver.deliver(job())
    assert without_warnings(effects) == [fx.DeleteBlackListed(7), fx.Settle(delivery, Case.BLACK_LISTED)]


def test_a_job_taken_off_the_black_list_runs() -> None:
    driver = Driver()
    driver.tell("add_to_black_list", 7)
    driver.tell("delete_from_black_list", 7)
    assert of_kind(driver.deliver(job())[1], cmd.RunJob)


def _listed(driver: Driver) -> list[int]:
    (report,) = of_kind(driver.tell("get_black_list"), fx.ReportBlackList)
    return list(report.job_ids)


@pytest.mark.parametrize("asks", [lambda d: d.tell("sync_black_list"), lambda d: d.feed(ev.LinkRestored())])
def test_what_is_said_while_the_backend_is_asked_is_newer_than_its_answer(asks: Callable[[Driver], object]) -> None:
    driver = Driver()
    driver.feed(ev.BlackListFetched(frozenset()))
    asks(driver)
    driver.tell("add_to_black_list", 7)
    driver.tell("delete_from_black_list", 8)
    driver.feed(ev.BlackListFetched(frozenset({8, 9})))
    assert _listed(driver) == [7, 9]
    assert not of_kind(driver.deliver(job())[1], cmd.RunJob)


def test_what_is_said_before_the_first_answer_is_newer_too() -> None:
    driver = Driver()
    driver.tell("add_to_black_list", 7)
    driver.tell("sync_black_list")
    driver.feed(ev.BlackListFetched(frozenset({9})))
    assert _listed(driver) == [7, 9]


def test_of_what_is_said_about_a_job_meanwhile_the_last_word_counts() -> None:
    driver = Driver()
    for order_type in ("add_to_black_list", "delete_from_black_list", "add_to_black_list"):
        driver.tell(order_type, 7)
    for order_type in ("add_to_black_list", "delete_from_black_list"):
        driver.tell(order_type, 8)
    driver.feed(ev.BlackListFetched(frozenset({8})))
    assert _listed(driver) == [7]


def test_what_is_said_between_two_answers_is_newer_than_the_second() -> None:
    driver = Driver()
    driver.tell("sync_black_list")
    driver.feed(ev.BlackListFetched(frozenset()))
    driver.tell("add_to_black_list", 7)
    driver.feed(ev.BlackListFetched(frozenset()))
    assert _listed(driver) == [7]


def test_what_was_said_does_not_stand_against_the_backend_for_ever_when_a_question_failed() -> None:
    driver = Driver()
    driver.feed(ev.BlackListFetched(frozenset({1})))
    driver.deliver(job(1))
    driver.tell("add_to_black_list", 7)
    for listed in ([7], [], []):
        driver.tell("sync_black_list")
        driver.feed(ev.BlackListFetched(frozenset()))
        assert _listed(driver) == listed


def test_a_question_asked_beside_one_that_is_answered_late_forgets_nothing() -> None:
    driver = Driver()
    driver.tell("sync_black_list")
    driver.feed(ev.BlackListFetched(frozenset()))
    driver.tell("add_to_black_list", 7)
    driver.tell("sync_black_list")
    driver.feed(ev.BlackListFetched(frozenset()))
    assert _listed(driver) == [7], "the answer to the question before the message"


def test_the_answer_to_a_dropped_job_has_the_last_word_about_it_and_no_other() -> None:
    driver = Driver()
    driver.tell("add_to_black_list", 7)
    driver.deliver(job())
    driver.tell("add_to_black_list", 8)
    driver.feed(ev.BlackListFetched(frozenset()))
    assert _listed(driver) == [8]


def test_the_backends_list_replaces_what_was_said_before_it_was_asked() -> None:
    driver = Driver()
    driver.feed(ev.BlackListFetched(frozenset()))
    driver.tell("add_to_black_list", 7)
    driver.tell("sync_black_list")
    assert driver.feed(ev.BlackListFetched(frozenset({9, 8}))) == []
    assert of_kind(driver.tell("get_black_list"), fx.ReportBlackList) == [fx.ReportBlackList([8, 9])]
    assert of_kind(driver.deliver(job())[1], cmd.RunJob)


def test_synchronising_the_black_list_asks_the_backend() -> None:
    assert [type(effect) for effect in Driver().tell("sync_black_list")] == [fx.FetchBlackList, fx.Settle]


# Unreadable


def test_an_unreadable_order_with_a_job_id_fails_that_job() -> None:
    _, effects = Driver().deliver(b'{"job_id": 7}')
    assert results(effects) == [(7, JobState.ERROR)]


def test_an_unreadable_order_without_a_job_id_is_reported_without_one() -> None:
    _, effects = Driver().deliver(b"{")
    assert [type(effect) for effect in effects] == [fx.Warn, fx.PublishUnknownError, fx.Settle]


@pytest.mark.parametrize("lane", Lane)
def test_an_unreadable_message_about_the_job_in_hand_does_not_end_it(lane: Lane) -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    _, effects = driver.deliver(b'{"type": "stop_process", "job_id": 7, "parameters": 3}', lane=lane)
    assert results(effects) == []
    assert of_kind(effects, fx.PublishUnknownError)
    assert driver.lifecycle.current_job_id == 7


def test_an_unreadable_message_about_another_job_fails_that_one() -> None:
    driver = Driver()
    driver.tell("init_process", 7)
    _, effects = driver.deliver(b'{"job_id": 8}')
    assert results(effects) == [(8, JobState.ERROR)]


def test_a_direct_order_on_the_job_queue_is_obeyed() -> None:
    _, effects = Driver().deliver(control("status"), lane=Lane.JOBS)
    assert [type(effect) for effect in effects] == [fx.ReportStatus, fx.Settle]
