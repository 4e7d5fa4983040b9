"""The link is lost and comes back: adoption, recognition, attempts (promise: nothing lost, nothing run twice)."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.reported import ReportedOrders
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Lane
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.lifecycle_kit import Driver, cases, job, of_kind, results, sent_back


def test_a_running_job_adopts_its_redelivered_order_and_is_reported_once() -> None:
    driver = Driver()
    lost, _ = driver.deliver(job())
    assert driver.lose_link() == []
    adopted, effects = driver.deliver(job(), redelivered=True)
    assert effects == []
    ended = driver.end()
    assert results(ended) == [(7, JobState.COMPLETED)]
    assert of_kind(driver.effects, fx.Settle) == [fx.Settle(adopted, Case.COMPLETED)]
    assert lost is not adopted
    assert len(of_kind(driver.effects, cmd.RunJob)) == 1


def test_an_adopted_job_whose_link_is_lost_again_is_adopted_again() -> None:
    driver = Driver()
    driver.deliver(job())
    for _ in range(3):
        driver.lose_link()
        last, effects = driver.deliver(job(), redelivered=True)
        assert effects == []
    assert of_kind(driver.end(), fx.Settle) == [fx.Settle(last, Case.COMPLETED)]


def test_a_job_that_ended_without_its_link_is_reported_and_its_order_acknowledged_unrun() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.lose_link()
    assert results(driver.end()) == [(7, JobState.COMPLETED)]
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


@pytest.mark.parametrize("losses", [1, 2, 5])
def test_an_order_that_is_done_with_is_recognised_however_often_its_acknowledgement_is_lost(losses: int) -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end()
    for _ in range(losses):
        driver.lose_link()
        assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]
    assert len(of_kind(driver.effects, cmd.RunJob)) == 1


def test_the_next_delivery_proves_that_an_acknowledgement_arrived() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end()
    driver.deliver(b"{")
    driver.lose_link()
    # Somebody else's attempt at a retry of the job: it is not the order that was done with here.
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REDELIVERED]


def test_a_direct_message_proves_nothing_about_the_job_queue() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end()
    driver.tell("status")
    driver.lose_link()
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


def test_a_retry_of_a_job_is_a_new_run_and_forgets_the_old_one() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end(state=JobState.ERROR)
    driver.lose_link()
    driver.deliver(job())
    assert len(of_kind(driver.effects, cmd.RunJob)) == 2


def test_a_retry_that_was_given_back_unrun_is_not_taken_for_the_order_that_was_done_with() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end(state=JobState.ERROR)
    driver.lose_link()
    driver.initialised(8)
    assert cases(driver.deliver(job())[1]) == [Case.ENGAGED]
    driver.end(8, JobState.STOPPED)
    driver.deliver(job(), put_backs=1)
    assert driver.lifecycle.current_job_id == 7, "it comes back and runs"


# An order whose copy took its place, and the acknowledgement behind the copy was lost


def put_back(driver: Driver) -> dict[str, int]:
    """Give an order back that came while another job is initialised."""
    driver.initialised(8)
    driver.deliver(job())
    driver.end(8, JobState.STOPPED)
    return {"put_backs": 1}


def counted(driver: Driver) -> dict[str, int]:
    """Send an order through the delay queue that somebody else lost."""
    driver.deliver(job(), redelivered=True)
    return {"attempts": 1}


def delayed(driver: Driver) -> dict[str, int]:
    """Send an order through the delay queue whose requirements are missing."""
    driver.deliver(job(requires=["/a"]))
    driver.feed(ev.RequirementsChecked(7, ["/a"]))
    return {"soft_rejects": 1}


COPIED = pytest.mark.parametrize("copy", [put_back, counted, delayed])


@COPIED
@pytest.mark.parametrize("first", ["the order", "the copy"])
def test_the_order_that_comes_back_beside_its_copy_is_dropped_and_the_copy_runs(
    copy: Callable[[Driver], dict[str, int]], first: str
) -> None:
    driver = Driver()
    counts = copy(driver)
    body = job(requires=["/a"]) if copy is delayed else job()
    driver.lose_link()
    driver.feed(ev.LinkRestored())
    if first == "the order":
        assert cases(driver.deliver(body, redelivered=True)[1]) == [Case.REPORTED]
    driver.deliver(body, **counts)
    assert driver.lifecycle.current_job_id == 7
    if copy is delayed:
        driver.feed(ev.RequirementsChecked(7, []))
    driver.end()
    if first == "the copy":
        assert cases(driver.deliver(body, redelivered=True)[1]) == [Case.REPORTED]


# An order that the broker takes back again and again


def test_the_order_of_a_running_job_is_held_until_the_broker_has_taken_it_back_so_often_that_it_may_drop_it() -> None:
    driver = Driver()
    driver.deliver(job())
    for returns in (1, 2):
        driver.lose_link()
        assert driver.deliver(job(), redelivered=True, returns=returns)[1] == []
    driver.lose_link()
    returned, effects = driver.deliver(job(), redelivered=True, returns=3)
    assert effects == sent_back(returned, Case.REDELIVERED, Count.ATTEMPTS), "its copy begins at none"
    adopted, effects = driver.deliver(job(), attempts=1)
    assert effects == []
    assert driver.end()[1:] == [fx.Settle(adopted, Case.COMPLETED)]
    assert len(of_kind(driver.effects, cmd.RunJob)) == 1


@pytest.mark.parametrize("body", [job(8), job(code="other")], ids=["another job", "another body"])
def test_only_the_same_job_and_body_are_recognised(body: dict) -> None:
    running, ended = Driver(), Driver()
    for driver in (running, ended):
        driver.deliver(job())
        driver.lose_link()
    ended.end()
    assert cases(running.deliver(body, redelivered=True)[1]) == [Case.ENGAGED]
    assert cases(ended.deliver(body, redelivered=True)[1]) == [Case.REDELIVERED]


def test_an_order_that_is_not_redelivered_is_not_adopted() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.lose_link()
    assert cases(driver.deliver(job())[1]) == [Case.ENGAGED]


# An order that another worker had meanwhile, and sent through the delay queue: an attempt more, not redelivered


@pytest.mark.parametrize("attempts", [0, 2])
@pytest.mark.parametrize("elsewhere", [1, 3])
def test_a_running_job_adopts_its_order_that_came_back_through_another_worker(attempts: int, elsewhere: int) -> None:
    driver = Driver(ttl_limit=9)
    driver.deliver(job(), attempts=attempts)
    driver.lose_link()
    adopted, effects = driver.deliver(job(), attempts=attempts + elsewhere)
    assert effects == []
    assert driver.end()[1:] == [fx.Settle(adopted, Case.COMPLETED)]
    assert len(of_kind(driver.effects, cmd.RunJob)) == 1


def test_an_adopted_order_that_came_through_another_worker_is_known_again_after_the_next_loss() -> None:
    driver = Driver()
    driver.deliver(job())
    for attempts, redelivered in [(1, False), (1, True), (2, False)]:
        driver.lose_link()
        assert driver.deliver(job(), attempts=attempts, redelivered=redelivered)[1] == []
    driver.end()
    driver.lose_link()
    assert cases(driver.deliver(job(), attempts=3)[1]) == [Case.REPORTED]


@pytest.mark.parametrize("linked", [True, False], ids=["acknowledgement lost", "ended without its link"])
@pytest.mark.parametrize("attempts", [0, 2])
def test_an_order_that_is_done_with_is_recognised_though_another_worker_had_it(linked: bool, attempts: int) -> None:
    driver = Driver()
    driver.deliver(job(), attempts=attempts)
    for step in (driver.end, driver.lose_link) if linked else (driver.lose_link, driver.end):
        step()
    assert cases(driver.deliver(job(), attempts=attempts + 1)[1]) == [Case.REPORTED]
    assert len(of_kind(driver.effects, cmd.RunJob)) == 1
    assert results(driver.effects) == [(7, JobState.COMPLETED)]


def test_an_order_beyond_the_attempts_limit_is_adopted_while_its_job_runs_and_dropped_when_it_is_done_with() -> None:
    running, ended = Driver(ttl_limit=0), Driver(ttl_limit=0)
    for driver in (running, ended):
        driver.deliver(job())
        driver.lose_link()
    ended.end()
    assert running.deliver(job(), attempts=1)[1] == []
    assert cases(ended.deliver(job(), attempts=1)[1]) == [Case.REPORTED]


@pytest.mark.parametrize("original", [0, 1, 2])
def test_a_fresh_order_of_the_same_body_is_a_new_run(original: int) -> None:
    driver = Driver()
    driver.deliver(job(), attempts=original)
    driver.end(state=JobState.ERROR)
    driver.lose_link()
    _, effects = driver.deliver(job())
    assert of_kind(effects, cmd.RunJob)
    assert results(driver.end()) == [(7, JobState.COMPLETED)]


@pytest.mark.parametrize("attempts", [0, 1, 2])
def test_an_order_with_no_more_attempts_than_the_one_in_hand_is_not_adopted(attempts: int) -> None:
    driver = Driver()
    driver.deliver(job(), attempts=2)
    driver.lose_link()
    assert cases(driver.deliver(job(), attempts=attempts)[1]) == [Case.ENGAGED]


@pytest.mark.parametrize("linked", [True, False], ids=["acknowledgement lost", "ended without its link"])
@pytest.mark.parametrize("attempts", [0, 1, 2])
def test_an_order_with_no_more_attempts_than_the_one_that_is_done_with_runs(attempts: int, linked: bool) -> None:
    driver = Driver()
    driver.deliver(job(), attempts=2)
    for step in (driver.end, driver.lose_link) if linked else (driver.lose_link, driver.end):
        step()
    assert of_kind(driver.deliver(job(), attempts=attempts)[1], cmd.RunJob)


@pytest.mark.parametrize("body", [job(8), job(code="other")], ids=["another job", "another body"])
def test_attempts_alone_make_no_order_known(body: dict) -> None:
    running, ended = Driver(), Driver()
    for driver in (running, ended):
        driver.deliver(job())
        driver.lose_link()
    ended.end()
    assert cases(running.deliver(body, attempts=1)[1]) == [Case.ENGAGED]
    assert of_kind(ended.deliver(body, attempts=1)[1], cmd.RunJob)


def test_an_order_attempted_elsewhere_while_the_link_stood_runs() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.end(state=JobState.ERROR)
    assert of_kind(driver.deliver(job(), attempts=1)[1], cmd.RunJob)


def test_of_very_many_orders_that_are_done_with_only_the_oldest_are_forgotten() -> None:
    driver = Driver()
    for job_id in range(ReportedOrders.CAPACITY + 1):
        driver.deliver(job(job_id))
        driver.lose_link()
        driver.end(job_id)
    assert cases(driver.deliver(job(0), redelivered=True)[1]) == [Case.REDELIVERED]
    for job_id in range(1, ReportedOrders.CAPACITY + 1):
        assert cases(driver.deliver(job(job_id), redelivered=True)[1]) == [Case.REPORTED]


def test_a_foreign_order_that_meets_a_job_without_its_link_pauses_the_queue_until_that_job_ends() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.lose_link()
    _, effects = driver.deliver(job(8))
    assert [type(effect) for effect in effects] == [fx.PauseJobs, fx.Delay, fx.Settle]
    assert [type(effect) for effect in driver.end()] == [fx.PublishResult, fx.ConsumeJobs]


def test_a_job_that_did_not_run_yet_is_dropped_with_its_link() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    assert driver.lose_link() == []
    assert driver.lifecycle.current_job_id is None
    assert driver.feed(ev.RequirementsChecked(7, [])) == [], "the answer comes too late"
    assert cases(driver.deliver(job(requires=["/a"]), redelivered=True)[1]) == [Case.REDELIVERED]


def test_a_job_that_goes_with_its_link_before_it_ran_keeps_no_other_order_away() -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    assert [type(effect) for effect in driver.deliver(job(8))[1]] == [fx.PauseJobs, fx.Delay, fx.Settle]
    assert driver.lose_link() == [fx.ConsumeJobs()]


@pytest.mark.parametrize(
    ("order_type", "state"), [("stop_process", JobState.STOPPED), ("reached_expiration", JobState.ERROR)]
)
def test_a_job_told_to_end_before_it_ran_is_reported_once_whatever_becomes_of_its_acknowledgement(
    order_type: str, state: JobState
) -> None:
    driver = Driver()
    driver.deliver(job(requires=["/a"]))
    driver.tell(order_type, 7)
    assert driver.lose_link() == []
    assert cases(driver.deliver(job(requires=["/a"]), redelivered=True)[1]) == [Case.REPORTED]
    assert driver.feed(ev.RequirementsChecked(7, [])) == []
    assert results(driver.effects) == [(7, state)]


def test_a_direct_job_does_not_depend_on_the_link() -> None:
    driver = Driver().initialised()
    assert driver.lose_link() == []
    assert of_kind(driver.tell("start_process", 7), cmd.StartJob)
    driver.lose_link()
    assert results(driver.end()) == [(7, JobState.COMPLETED)]


def test_losing_the_link_while_idle_changes_nothing() -> None:
    assert Driver().lose_link() == []


@pytest.mark.parametrize("attempts", [0, 4])
def test_an_order_nobody_knows_goes_through_the_delay_queue_once_however_often_it_was_attempted(attempts: int) -> None:
    assert cases(Driver().deliver(job(), redelivered=True, attempts=attempts)[1]) == [Case.REDELIVERED]


def test_an_order_that_was_refused_is_not_refused_twice() -> None:
    driver = Driver()
    driver.deliver(job(), attempts=5)
    driver.lose_link()
    assert cases(driver.deliver(job(), attempts=5, redelivered=True)[1]) == [Case.REPORTED]
    assert len(of_kind(driver.effects, fx.PublishResult)) == 1


def test_an_order_whose_requirements_never_came_is_not_reported_twice() -> None:
    driver = Driver()
    order = job(requires=["/a"])
    driver.deliver(order, soft_rejects=800)
    driver.feed(ev.RequirementsChecked(7, ["/a"]))
    driver.lose_link()
    assert cases(driver.deliver(order, soft_rejects=800, redelivered=True)[1]) == [Case.REPORTED]


def test_a_black_listed_order_whose_acknowledgement_was_lost_does_not_run_when_the_list_has_forgotten_it() -> None:
    driver = Driver()
    driver.tell("add_to_black_list", 7)
    driver.deliver(job())
    driver.feed(ev.BlackListFetched(frozenset()))
    driver.lose_link()
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.REPORTED]


def test_a_delayed_order_whose_acknowledgement_was_lost_does_not_live_on_beside_its_copy() -> None:
    driver = Driver()
    order = job(requires=["/a"])
    driver.deliver(order)
    driver.feed(ev.RequirementsChecked(7, ["/a"]))
    driver.lose_link()
    assert cases(driver.deliver(order, redelivered=True)[1]) == [Case.REPORTED]
    driver.deliver(order, soft_rejects=1)
    assert of_kind(driver.feed(ev.RequirementsChecked(7, [])), cmd.RunJob)


def test_the_copy_of_a_delayed_order_is_not_taken_for_the_order() -> None:
    driver = Driver()
    order = job(requires=["/a"])
    driver.deliver(order)
    driver.feed(ev.RequirementsChecked(7, ["/a"]))
    driver.lose_link()
    assert cases(driver.deliver(order, soft_rejects=1, redelivered=True)[1]) == [Case.REDELIVERED]


def test_a_redelivered_direct_order_is_not_taken_for_a_queued_one() -> None:
    driver = Driver()
    driver.deliver(job())
    driver.lose_link()
    direct, effects = driver.deliver(job(), lane=Lane.DIRECT, redelivered=True)
    assert of_kind(effects, fx.Settle) == [fx.Settle(direct, Case.CONTROLLED)]
    assert driver.deliver(job(), redelivered=True)[1] == [], "the queued one is adopted"


def test_a_job_ordered_directly_does_not_adopt_a_queued_order() -> None:
    driver = Driver()
    driver.deliver(job(), lane=Lane.DIRECT)
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.ENGAGED]


def test_a_job_that_holds_its_order_does_not_adopt_a_second_one() -> None:
    driver = Driver()
    first, _ = driver.deliver(job())
    assert cases(driver.deliver(job(), redelivered=True)[1]) == [Case.ENGAGED]
    assert of_kind(driver.end(), fx.Settle) == [fx.Settle(first, Case.COMPLETED)]
