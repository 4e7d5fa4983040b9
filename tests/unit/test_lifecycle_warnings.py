"""What is dropped, ignored or refused leaves a line in the log, with the job's id."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.protocol.delivery import Lane
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.lifecycle_kit import Driver, job, of_kind

Play = Callable[[Driver], list[Effect]]


def _black_listed(driver: Driver) -> list[Effect]:
    driver.tell("add_to_black_list", 7)
    return driver.deliver(job())[1]


def _missing(driver: Driver) -> list[Effect]:
    driver.deliver(job(requires=["/a"]))
    return driver.feed(ev.RequirementsChecked(7, ["/a"]))


def _running(play: Play, job_id: int = 7) -> Play:
    def after_its_start(driver: Driver) -> list[Effect]:
        driver.deliver(job(job_id))
        return play(driver)

    return after_its_start


def _stopped_before_its_start(driver: Driver) -> list[Effect]:
    driver.initialised().tell("stop_process", 7)
    return driver.tell("start_process", 7)


def _told_while_checked(driver: Driver, order_type: str) -> list[Effect]:
    driver.deliver(job(requires=["/a"]))
    return driver.tell(order_type, 7)


def _told_while_initialised(driver: Driver, order_type: str) -> list[Effect]:
    driver.tell("init_process", 7)
    return driver.tell(order_type, 7)


WARNED: dict[str, Play] = {
    "a black-listed job": _black_listed,
    "a redelivered order": lambda driver: driver.deliver(job(), redelivered=True)[1],
    "a missing requirement": _missing,
    "an unreadable order": lambda driver: driver.deliver(b'{"job_id": 7}')[1],
    "a direct order of the job in hand": _running(lambda driver: driver.deliver(job(), lane=Lane.DIRECT)[1]),
    "an init of the job in hand": lambda driver: driver.initialised().tell("init_process", 7),
    "a start of a running job": _running(lambda driver: driver.tell("start_process", 7)),
    "a start of a stopped job": _stopped_before_its_start,
    "a stop while idle": lambda driver: driver.tell("stop_process", 7),
    "a stop of another job": lambda driver: driver.initialised(8).tell("stop_process", 7),
    "an update while idle": lambda driver: driver.tell("update_process", 7),
    "an update of another job": lambda driver: driver.initialised(8).tell("update_process", 7),
    "an update of a job that is still checked": lambda driver: _told_while_checked(driver, "update_process"),
    "an update of a job that is still initialised": lambda driver: _told_while_initialised(driver, "update_process"),
    "a direct order that comes again": lambda driver: driver.deliver(job(), lane=Lane.DIRECT, redelivered=True)[1],
    "an init that comes again": lambda driver: driver.tell("init_process", 7, redelivered=True),
    "an init that comes again for another job": lambda driver: driver.initialised(8).tell(
        "init_process", 7, redelivered=True
    ),
    "a start that comes again": lambda driver: driver.tell("start_process", 7, redelivered=True),
    "a refused update": _running(lambda driver: driver.feed(ev.JobUpdated(7, "no"))),
    "an end of a job that is not in hand": lambda driver: driver.end(7, JobState.ERROR),
}


@pytest.mark.parametrize("play", WARNED.values(), ids=WARNED)
def test_it_is_logged_with_the_job_it_is_about(play: Play) -> None:
    (warning,) = of_kind(play(Driver()), fx.Warn)
    assert warning.job_id == 7
    assert warning.message


def _missing_for_the_last_time(driver: Driver) -> list[Effect]:
    driver.deliver(job(requires=["/a"]), soft_rejects=1000)
    return driver.feed(ev.RequirementsChecked(7, ["/a"]))


FAILED_WITHOUT_RUNNING: dict[str, Play] = {
    "an order with too many attempts": lambda driver: driver.deliver(job(), attempts=1000)[1],
    "a requirement that is missing for good": _missing_for_the_last_time,
    "a direct order while another job runs": _running(
        lambda driver: driver.deliver(job(), lane=Lane.DIRECT)[1], job_id=8
    ),
    "an init while another job is in hand": lambda driver: driver.initialised(8).tell("init_process", 7),
    "a start without an init": lambda driver: driver.tell("start_process", 7),
    "a start of another job": lambda driver: driver.initialised(8).tell("start_process", 7),
    "an expiry of a job that is not in hand": lambda driver: driver.tell("reached_expiration", 7),
}


@pytest.mark.parametrize("play", FAILED_WITHOUT_RUNNING.values(), ids=FAILED_WITHOUT_RUNNING)
def test_a_failure_of_a_job_that_did_not_run_is_logged_when_it_is_published(play: Play) -> None:
    (publication,) = of_kind(play(Driver()), fx.PublishResult)
    assert publication.result.job_id == 7
    assert publication.has_run is False
