"""The settlement table, row by row: each case is reached through ``feed``, and settles as the table says."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.settlement import SETTLEMENT_TABLE, Case
from mcai_worker_sdk.protocol.delivery import Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobState
from tests.unit.lifecycle_kit import Driver, cases, control, job

#: One scenario: it drives a worker until the delivery it returns is settled.
Play = Callable[[Driver], Delivery]


@dataclass(frozen=True)
class Scenario:
    """How a case comes about, and what the protocol's decisions ask for then, said independently of the table."""

    name: str
    case: Case
    publishes: str | None
    play: Play


def _ended(state: JobState) -> Play:
    def play(driver: Driver) -> Delivery:
        delivery, _ = driver.deliver(job())
        driver.end(state=state)
        return delivery

    return play


def _adopted(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.lose_link()
    delivery, _ = driver.deliver(job(), redelivered=True)
    driver.end()
    return delivery


def _expired(driver: Driver) -> Delivery:
    delivery, _ = driver.deliver(job())
    driver.tell("reached_expiration", 7)
    driver.end(state=JobState.COMPLETED)
    return delivery


def _bad_requirements(driver: Driver) -> Delivery:
    order = job()
    order["parameters"] = [{"id": "requirements", "type": "requirements", "value": "/a/file"}]
    return driver.deliver(order)[0]


def _told_while_checked(order_type: str) -> Play:
    def play(driver: Driver) -> Delivery:
        delivery, _ = driver.deliver(job(requires=["/a"]))
        driver.tell(order_type, 7)
        return delivery

    return play


def _unreadable(body: bytes) -> Play:
    return lambda driver: driver.deliver(body, lane=Lane.JOBS)[0]


def _missing(soft_rejects: int) -> Play:
    def play(driver: Driver) -> Delivery:
        delivery, _ = driver.deliver(job(requires=["/a"]), soft_rejects=soft_rejects)
        driver.feed(ev.RequirementsChecked(7, ["/a"]))
        return delivery

    return play


def _black_listed(driver: Driver) -> Delivery:
    driver.feed(ev.BlackListFetched(frozenset({7})))
    return driver.deliver(job())[0]


def _reported_without_link(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.lose_link()
    driver.end()
    return driver.deliver(job(), redelivered=True)[0]


def _reported_and_back_through_another_worker(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.end()
    driver.lose_link()
    return driver.deliver(job(), attempts=1)[0]


def _adopted_through_another_worker(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.lose_link()
    delivery, _ = driver.deliver(job(), attempts=1)
    driver.end()
    return delivery


def _reported_before_the_loss(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.end()
    driver.lose_link()
    return driver.deliver(job(), redelivered=True)[0]


def _engaged(driver: Driver) -> Delivery:
    driver.initialised(8)
    return driver.deliver(job())[0]


def _engaged_without_link(driver: Driver) -> Delivery:
    driver.deliver(job(8))
    driver.lose_link()
    return driver.deliver(job())[0]


def _suspended_and_waiting(driver: Driver) -> Delivery:
    driver.deliver(job())
    driver.tell("stop_consuming_jobs")
    driver.lose_link()
    driver.end()
    return driver.deliver(job(8))[0]


def _late_order(driver: Driver) -> Delivery:
    driver.feed(ev.ShutdownRequested())
    return driver.deliver(job())[0]


def _out_of_grace(driver: Driver) -> Delivery:
    delivery, _ = driver.deliver(job())
    driver.feed(ev.ShutdownRequested())
    driver.feed(ev.GraceExpired())
    driver.end(state=JobState.STOPPED)
    return delivery


def _shut_down_while_checked(driver: Driver) -> Delivery:
    delivery, _ = driver.deliver(job(requires=["/a"]))
    driver.feed(ev.ShutdownRequested())
    return delivery


def _host_gone(driver: Driver) -> Delivery:
    delivery, _ = driver.deliver(job())
    driver.feed(ev.HostFailed("setup() failed"))
    return delivery


def _told(order_type: str, job_id: int | None = None) -> Play:
    return lambda driver: driver.deliver(control(order_type, job_id), lane=Lane.DIRECT)[0]


ANSWER = "the order's answer, if it has one"
COPY = "a copy to job_delayed"

SCENARIOS = [
    Scenario("a job completes", Case.COMPLETED, "job_completed", _ended(JobState.COMPLETED)),
    Scenario("an adopted job completes", Case.COMPLETED, "job_completed", _adopted),
    Scenario("a job adopted through another worker", Case.COMPLETED, "job_completed", _adopted_through_another_worker),
    Scenario("a job stops", Case.STOPPED, "job_stopped", _ended(JobState.STOPPED)),
    Scenario("a job stops before it runs", Case.STOPPED, "job_stopped", _told_while_checked("stop_process")),
    Scenario("a job fails", Case.FAILED, "job_error", _ended(JobState.ERROR)),
    Scenario("a job expires", Case.FAILED, "job_error", _expired),
    Scenario("it expires before it runs", Case.FAILED, "job_error", _told_while_checked("reached_expiration")),
    Scenario("requirements are no object", Case.FAILED, "job_error", _bad_requirements),
    Scenario("no JSON", Case.UNREADABLE, "job_error", _unreadable(b"{")),
    Scenario("no parameters", Case.UNREADABLE, "job_error", _unreadable(b'{"job_id": 7}')),
    Scenario("a path is missing", Case.REQUIREMENTS_MISSING, COPY, _missing(0)),
    Scenario("a path is missing still", Case.REQUIREMENTS_MISSING, COPY, _missing(799)),
    Scenario("a path never comes", Case.REQUIREMENTS_LIMIT, "job_error", _missing(800)),
    Scenario("an order comes again", Case.REDELIVERED, COPY, lambda d: d.deliver(job(), redelivered=True)[0]),
    Scenario("attempts ran out", Case.ATTEMPTS_LIMIT, "job_error", lambda d: d.deliver(job(), attempts=5)[0]),
    Scenario("a job is black-listed", Case.BLACK_LISTED, None, _black_listed),
    Scenario("it ended without its link", Case.REPORTED, None, _reported_without_link),
    Scenario("its acknowledgement was lost", Case.REPORTED, None, _reported_before_the_loss),
    Scenario("another worker had it", Case.REPORTED, None, _reported_and_back_through_another_worker),
    Scenario("another job is initialised", Case.ENGAGED, COPY, _engaged),
    Scenario("another job runs on without its link", Case.ENGAGED, COPY, _engaged_without_link),
    Scenario("an order comes to a worker that waits for its own", Case.SUSPENDED, COPY, _suspended_and_waiting),
    Scenario("an order comes during the shutdown", Case.SHUTTING_DOWN, COPY, _late_order),
    Scenario("a job runs out of grace", Case.SHUTTING_DOWN, COPY, _out_of_grace),
    Scenario("a job is still checked at shutdown", Case.SHUTTING_DOWN, COPY, _shut_down_while_checked),
    Scenario("the host is gone", Case.SHUTTING_DOWN, COPY, _host_gone),
    *[
        Scenario(f"{order_type} {job_id or ''}".strip(), Case.CONTROLLED, ANSWER, _told(order_type, job_id))
        for order_type, job_id in [
            ("init_process", 7),
            ("start_process", 7),
            ("stop_process", 7),
            ("update_process", 7),
            ("reached_expiration", 7),
            ("add_to_black_list", 7),
            ("delete_from_black_list", 7),
            ("status", None),
            ("stop_consuming_jobs", None),
            ("resume_consuming_jobs", None),
            ("sync_black_list", None),
            ("get_black_list", None),
            ("stop_worker", None),
        ]
    ],
]

#: Effects that answer a direct message; a job's own publications are among them.
ANSWERS = (fx.PublishResult, fx.ReportStatus, fx.ReportBlackList)


def _publications(effects: list[Effect]) -> list[str]:
    """Routing keys of what is published and confirmed, in order."""
    keys = []
    for effect in effects:
        if isinstance(effect, fx.PublishResult):
            keys.append(effect.result.route[1])
        elif isinstance(effect, fx.PublishUnknownError):
            keys.append("job_error")
        elif isinstance(effect, fx.Delay):
            keys.append(COPY)
    return keys


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_delivery_is_settled_once_and_after_its_publication(scenario: Scenario) -> None:
    driver = Driver()
    delivery = scenario.play(driver)
    places = [
        place
        for place, effect in enumerate(driver.effects)
        if isinstance(effect, fx.Settle) and effect.delivery is delivery
    ]
    assert len(places) == 1
    settle = driver.effects[places[0]]
    assert isinstance(settle, fx.Settle)
    assert settle.case is scenario.case
    if scenario.publishes == ANSWER:
        late = driver.effects[places[0] + 1 :]
        assert not [effect for effect in late if isinstance(effect, ANSWERS)], "the answer comes before the settlement"
    elif scenario.case is Case.REPORTED:
        assert _publications(driver.effects) == ["job_completed"], "one result for the two deliveries"
    elif scenario.case is Case.SUSPENDED:
        assert _publications(driver.effects) == ["job_completed", COPY], "of the job whose order is waited for"
    else:
        assert _publications(driver.effects) == ([scenario.publishes] if scenario.publishes else [])
        assert _publications(driver.effects[places[0] :]) == [], "published before it is settled"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_table_says_what_the_decisions_ask_for(scenario: Scenario) -> None:
    assert SETTLEMENT_TABLE[scenario.case] == scenario.publishes


def test_every_case_has_a_row_and_a_scenario() -> None:
    assert set(SETTLEMENT_TABLE) == set(Case) == {scenario.case for scenario in SCENARIOS}


def test_each_case_says_in_words_why() -> None:
    assert len({case.value for case in Case}) == len(Case)


def test_a_job_order_by_direct_message_is_acknowledged_at_once_and_reported_later() -> None:
    driver = Driver()
    _, effects = driver.deliver(job(), lane=Lane.DIRECT)
    assert cases(effects) == [Case.CONTROLLED]
    assert cases(driver.end()) == []
    assert _publications(driver.effects) == ["job_completed"]
