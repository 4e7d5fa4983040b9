"""``McaiChannel``: what user code may say and hear, from any thread, during the job and after it."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mcai_worker_sdk.channel import JobStatus, McaiChannel


class Reports:
    """Where the channel's progressions go."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.channel = McaiChannel(7, lambda job_id, percent: self.seen.append((job_id, percent)))


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def channel(reports: Reports) -> McaiChannel:
    return reports.channel


def in_another_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


#: Every rule holds in the thread that runs the job and in those it starts.
here_and_elsewhere = pytest.mark.parametrize("run", [lambda call: call(), in_another_thread], ids=["here", "elsewhere"])


# Progression


@here_and_elsewhere
@pytest.mark.parametrize(
    ("value", "percent"),
    [
        (0, 0),
        (50, 50),
        (100, 100),
        (0.0, 0),
        (49.99, 49),
        (99.999, 99),
        (100.0, 100),
        (True, 1),
        (Fraction(199, 2), 99),
        (Decimal("49.9"), 49),
        (np.float32(49.9), 49),
        (np.int8(50), 50),
        (np.array(49.9), 49),
    ],
)
def test_a_progression_is_reported_in_whole_percents_rounded_down(
    reports: Reports, value: float, percent: int, run: Callable
) -> None:
    assert run(lambda: reports.channel.publish_job_progression(value)) is True
    assert reports.seen == [(7, percent)]
    assert type(reports.seen[0][1]) is int


@here_and_elsewhere
@pytest.mark.parametrize(
    ("value", "percent"),
    [
        (101, 100),
        (100.00000000000001, 100),
        (np.int16(255), 100),
        (10**400, 100),
        (Fraction(10**400), 100),
        (Decimal("1e500"), 100),
        (float("inf"), 100),
        (-1, 0),
        (-1e-9, 0),
        (-(10**400), 0),
        (-float("inf"), 0),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_a_progression_out_of_range_is_the_nearer_end_and_one_warning_a_job(
    reports: Reports, value: Any, percent: int, run: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert run(lambda: reports.channel.publish_job_progression(value)) is True
    assert run(lambda: reports.channel.publish_job_progression(1000 if percent == 0 else -1000)) is True

    assert reports.seen == [(7, percent)] * 3 + [(7, 100 - percent)]
    (warning,) = caplog.records
    assert (warning.levelname, warning.job_id) == ("WARNING", 7)  # type: ignore[attr-defined]
    assert f"expected a number of percents from 0 to 100. It is published as {percent}, and" in warning.getMessage()
    assert len(warning.getMessage()) < 200


def test_rounded_steps_that_pass_100_end_at_100_and_each_job_has_its_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    overshooting = [k for k in range(1, 200) if list(itertools.accumulate([100 / k] * k))[-1] > 100]
    for k in overshooting:
        reports = Reports()
        for reached in itertools.accumulate([100 / k] * k):
            reports.channel.publish_job_progression(reached)
        assert reports.seen[-1] == (7, 100)
    assert overshooting
    assert len(caplog.records) == len(overshooting)


def test_a_progression_within_the_range_is_no_warning(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    for value in (0, -0.0, 100, 100.0, 99.9):
        reports.channel.publish_job_progression(value)
    assert caplog.records == []


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), Decimal("NaN"), Decimal("sNaN")], ids=repr)
def test_a_progression_that_is_not_a_number_is_refused_with_its_value(reports: Reports, value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"The job progression is .*; expected a number of percents from 0 to 100"
    ) as e:
        reports.channel.publish_job_progression(value)
    assert repr(value) in str(e.value)
    assert reports.seen == []


@pytest.mark.parametrize(
    "value",
    ["50", b"50", bytearray(b"50"), np.str_("50"), None, [50], np.array([50, 51]), 1 + 2j, object],
    ids=repr,
)
def test_a_progression_of_another_type_is_refused(reports: Reports, value: Any) -> None:
    with pytest.raises(TypeError, match=r"The job progression is .*; expected a number of percents from 0 to 100"):
        reports.channel.publish_job_progression(value)
    assert reports.seen == []


def test_progressions_are_reported_in_the_order_they_were_published(reports: Reports) -> None:
    for percent in (10, 5, 5, 90):
        reports.channel.publish_job_progression(percent)
    assert [percent for _, percent in reports.seen] == [10, 5, 5, 90]


def test_no_progression_of_many_threads_is_lost(reports: Reports) -> None:
    gate = threading.Barrier(8)

    def publish(percent: int) -> list[bool]:
        gate.wait()
        return [reports.channel.publish_job_progression(percent) for _ in range(200)]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answers in pool.map(publish, range(8)) for answer in answers]
    assert answers == [True] * 1600
    assert sorted(reports.seen) == sorted((7, percent) for percent in range(8) for _ in range(200))


# Stop


@here_and_elsewhere
def test_a_job_is_not_stopped_until_somebody_asks(channel: McaiChannel, run: Callable) -> None:
    assert run(channel.is_stopped) is False
    channel._request_stop()
    assert run(channel.is_stopped) is True
    assert run(channel.is_stopped) is True, "it stays so"


def test_a_stop_requested_twice_is_a_stop(channel: McaiChannel) -> None:
    channel._request_stop()
    channel._request_stop()
    assert channel.is_stopped()


def test_a_job_that_saw_its_stop_is_told_from_one_that_never_asked(channel: McaiChannel) -> None:
    channel.is_stopped()
    channel._request_stop()
    assert not channel._saw_stop
    channel.is_stopped()
    assert channel._saw_stop


def test_a_waiting_thread_wakes_when_the_job_is_stopped(channel: McaiChannel) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(channel._stop_requested.wait, 30)
        channel._request_stop()
        assert waiting.result(timeout=20) is True


def test_waiting_ends_without_a_stop_when_the_time_is_over(channel: McaiChannel) -> None:
    assert channel._stop_requested.wait(0) is False


# Status and message


@here_and_elsewhere
@pytest.mark.parametrize("status", JobStatus)
def test_a_status_is_taken_and_the_last_one_counts(channel: McaiChannel, status: JobStatus, run: Callable) -> None:
    assert channel._chosen_status is None
    assert channel.set_job_status(JobStatus.Error) is True
    assert run(lambda: channel.set_job_status(status)) is True
    assert channel._chosen_status is status


def test_a_status_is_shown_by_its_name_and_equals_its_number() -> None:
    status = JobStatus.Error

    assert (str(status), repr(status), f"{status}", int(status)) == (*["JobStatus.Error"] * 3, 2)


@pytest.mark.parametrize("status", [0, 2, True, "Completed", None, JobStatus], ids=repr)
def test_a_status_that_is_none_is_refused_with_those_that_are(channel: McaiChannel, status: Any) -> None:
    channel.set_job_status(JobStatus.Stopped)
    with pytest.raises(TypeError, match=r"expected one of JobStatus.Completed, JobStatus.Stopped, JobStatus.Error"):
        channel.set_job_status(status)
    assert channel._chosen_status is JobStatus.Stopped


@here_and_elsewhere
def test_an_error_message_is_taken_and_the_last_one_counts(channel: McaiChannel, run: Callable) -> None:
    assert channel._chosen_error_message is None
    assert channel.set_error_message("first") is True
    assert run(lambda: channel.set_error_message("é☃")) is True
    assert channel._chosen_error_message == "é☃"


@pytest.mark.parametrize("message", [None, 3, b"bytes", ValueError("x")], ids=repr)
def test_an_error_message_that_is_no_text_is_refused(channel: McaiChannel, message: Any) -> None:
    with pytest.raises(TypeError, match=r"The error message is .*; expected a string"):
        channel.set_error_message(message)
    assert channel._chosen_error_message is None


def test_arguments_have_the_names_workers_use(reports: Reports) -> None:
    assert reports.channel.publish_job_progression(value=1)
    assert reports.channel.set_job_status(status=JobStatus.Stopped)
    assert reports.channel.set_error_message(error_message="x")


def test_the_numbers_of_the_states_are_those_of_the_reference() -> None:
    assert {status.name: int(status) for status in JobStatus} == {"Completed": 0, "Stopped": 1, "Error": 2}


# After the job


@here_and_elsewhere
def test_nothing_is_taken_after_the_job_has_ended(reports: Reports, run: Callable) -> None:
    channel = reports.channel
    channel.set_job_status(JobStatus.Stopped)
    channel.set_error_message("before")
    channel._close()
    assert run(lambda: channel.publish_job_progression(5)) is False
    assert run(lambda: channel.publish_job_progression(101)) is False
    assert run(lambda: channel.set_job_status(JobStatus.Error)) is False
    assert run(lambda: channel.set_error_message("after")) is False
    assert reports.seen == []
    assert (channel._chosen_status, channel._chosen_error_message) == (JobStatus.Stopped, "before")


def test_a_wrong_value_is_refused_after_the_job_too(channel: McaiChannel) -> None:
    channel._close()
    with pytest.raises(ValueError, match="percents"):
        channel.publish_job_progression(float("nan"))
    with pytest.raises(TypeError, match="JobStatus"):
        channel.set_job_status(1)  # type: ignore[arg-type]


def test_a_thread_that_outlives_the_job_hears_that_it_ended(reports: Reports) -> None:
    ended, answers = threading.Event(), []

    def outlive() -> None:
        ended.wait(30)
        answers.append((reports.channel.publish_job_progression(99), reports.channel.is_stopped()))

    thread = threading.Thread(target=outlive)
    thread.start()
    reports.channel._close()
    ended.set()
    thread.join(30)
    assert answers == [(False, False)]
    assert reports.seen == []


def test_two_jobs_share_nothing() -> None:
    first, second = Reports(), Reports()
    first.channel._request_stop()
    first.channel.set_job_status(JobStatus.Error)
    first.channel._close()
    assert second.channel.is_stopped() is False
    assert second.channel._chosen_status is None
    assert second.channel.publish_job_progression(1) is True
