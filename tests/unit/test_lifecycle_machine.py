"""A state machine of hypothesis throws everything at the lifecycle; the world around it asserts at each effect."""

import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.delivery import Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobResult, JobState
from mcai_worker_sdk.settings import JobSettings
from tests.unit.lifecycle_kit import control, job
from tests.unit.lifecycle_world import World, again

JOB_IDS = st.sampled_from([1, 2, 3])
LANES = st.sampled_from(list(Lane))
ORDERS_ABOUT_A_JOB = st.sampled_from(
    ["init_process", "start_process", "stop_process", "update_process", "reached_expiration"]
)
UNREADABLE = [b"", b"{", b"[]", b'{"job_id": 1}', b'{"job_id": "1", "parameters": []}', b"\xff"]
SMALL_TALK = st.sampled_from(
    ["add_to_black_list", "delete_from_black_list", "get_black_list", "sync_black_list", "status", *UNREADABLE]
)
MISSING = st.sampled_from([[], ["/a"]])
ENDS = st.sampled_from([JobState.COMPLETED, JobState.STOPPED, JobState.ERROR])


class LifecycleMachine(RuleBasedStateMachine):
    """Orders, losses, ends and switches in any order."""

    @initialize(
        ttl_limit=st.integers(0, 2),
        soft_limit=st.integers(0, 2),
        max_jobs=st.sampled_from([None, None, 1, 3]),
        announces_start=st.booleans(),
        ready=st.sampled_from([True, True, True, False]),
        mortal=st.sampled_from([False, False, True]),
    )
    def start(self, ready: bool, mortal: bool, announces_start: bool, **limits: object) -> None:
        self.world = World(JobSettings(**limits), announces_start=announces_start)  # type: ignore[arg-type]
        # Most workers never end: one that ended early has seen little.
        self.mortal = mortal
        if ready:
            self.host_ready()

    # The broker

    def _deliver(self, content: dict | bytes, lane: Lane, **properties: object) -> None:
        if lane is Lane.JOBS and self.world.unsettled_order is not None:
            return
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.world.deliver(Delivery(body, lane, **properties))  # type: ignore[arg-type]

    @rule(
        job_id=JOB_IDS,
        lane=LANES,
        value=st.sampled_from("ab"),
        required=st.sampled_from([None, [], ["/a"]]),
        attempts=st.integers(0, 3),
        redelivered=st.booleans(),
        put_backs=st.sampled_from([0, 0, 1]),
        returns=st.sampled_from([0, 1, 3]),
    )
    def job_order(
        self,
        job_id: int,
        lane: Lane,
        value: str,
        required: list[str] | None,
        attempts: int,
        redelivered: bool,
        put_backs: int,
        returns: int,
    ) -> None:
        counts = {"attempts": attempts, "put_backs": put_backs, "returns": returns if redelivered else 0}
        content = job(job_id, value=value, requires=required)
        self._deliver(content, lane, redelivered=redelivered, **counts)

    @precondition(lambda self: self.world.run is None)
    @rule(job_id=JOB_IDS, required=st.sampled_from([None, ["/a"]]))
    def job_order_for_an_idle_worker(self, job_id: int, required: list[str] | None) -> None:
        self._deliver(job(job_id, requires=required), Lane.JOBS)

    @precondition(lambda self: self.world.run is None)
    @rule(job_id=JOB_IDS, redelivered=st.sampled_from([False, False, True]))
    def init_process_for_an_idle_worker(self, job_id: int, redelivered: bool) -> None:
        self._deliver(control("init_process", job_id), Lane.DIRECT, redelivered=redelivered)

    @precondition(lambda self: self.world.returning and self.world.unsettled_order is None)
    @rule(place=st.integers(0, 3), elsewhere=st.sampled_from([0, 0, 1, 2]), returns=st.sampled_from([0, 1, 3]))
    def returning_order(self, place: int, elsewhere: int, returns: int) -> None:
        delivery = self.world.returning.pop(place % len(self.world.returning))
        if delivery.redelivered:
            delivery = again(delivery, redelivered=True, returns=returns)
        if elsewhere:
            # Other workers had it meanwhile, and sent it through the delay queue.
            delivery = again(delivery, redelivered=False, attempts=delivery.attempts + elsewhere)
        self.world.deliver(delivery)

    @precondition(lambda self: self.world.returning_direct)
    @rule()
    def returning_direct_message(self) -> None:
        self.world.deliver(self.world.returning_direct.pop())

    @rule(
        order_type=ORDERS_ABOUT_A_JOB,
        job_id=JOB_IDS,
        lane=LANES,
        values=st.sampled_from([{}, {"value": "c"}]),
        redelivered=st.booleans(),
    )
    def order_about_a_job(
        self, order_type: str, job_id: int, lane: Lane, values: dict[str, str], redelivered: bool
    ) -> None:
        self._deliver(control(order_type, job_id, **values), lane, redelivered=redelivered)

    @precondition(lambda self: self.world.run is not None)
    @rule(order_type=ORDERS_ABOUT_A_JOB, redelivered=st.sampled_from([False, False, True]))
    def order_about_the_job_in_hand(self, order_type: str, redelivered: bool) -> None:
        self._deliver(control(order_type, self.world.run.job_id), Lane.DIRECT, redelivered=redelivered)

    @precondition(lambda self: self.world.run is not None and self.world.run.checking)
    @rule(order_type=st.sampled_from(["stop_process", "reached_expiration", "update_process"]))
    def order_about_the_job_that_is_still_checked(self, order_type: str) -> None:
        self._deliver(control(order_type, self.world.run.job_id), Lane.DIRECT)

    @rule(order_type=SMALL_TALK, job_id=JOB_IDS, lane=LANES)
    def small_talk(self, order_type: str | bytes, job_id: int, lane: Lane) -> None:
        if lane is Lane.JOBS and self.world.unsettled_order is not None:
            return
        if order_type in ("add_to_black_list", "delete_from_black_list"):
            self.world.black_list.told(job_id, listed=order_type == "add_to_black_list")
        self._deliver(order_type if isinstance(order_type, bytes) else control(order_type, job_id), lane)

    @rule(suspended=st.booleans())
    def suspend_or_resume(self, suspended: bool) -> None:
        self.world.suspended = suspended
        self._deliver(control("stop_consuming_jobs" if suspended else "resume_consuming_jobs"), Lane.DIRECT)

    @rule(acknowledgement_too=st.booleans())
    def link_lost(self, acknowledgement_too: bool) -> None:
        self.world.lose_link(acknowledgement_too=acknowledgement_too)

    @precondition(lambda self: not self.world.linked)
    @rule()
    def link_restored(self) -> None:
        self.world.restore_link()

    @precondition(lambda self: self.world.alarm is not None)
    @rule()
    def return_overdue(self) -> None:
        self.world.return_overdue()

    @precondition(lambda self: self.world.unsettled_order is not None)
    @rule(elsewhere=st.integers(0, 2))
    def order_lost_and_back(self, elsewhere: int) -> None:
        self.world.lose_link(acknowledgement_too=False)
        self.returning_order(len(self.world.returning) - 1, elsewhere, 0)

    # The host

    @rule()
    def host_ready(self) -> None:
        self.world.ready |= not self.world.shutting_down
        self.world.feed(ev.HostReady())

    def _go_on(self, missing: list[str], state: JobState) -> None:
        """The next step in the natural course of the job in hand."""
        if self.world.checks:
            self.world.answer_check(missing)
        elif self.world.host and self.world.host.phase == "initialising":
            self.world.host.phase = "ready"
            self.world.feed(ev.JobInitialised(self.world.host.job_id))
        elif self.world.host and self.world.host.phase == "ready" and not self.world.host.discarding:
            self._deliver(control("start_process", self.world.host.job_id), Lane.DIRECT)
        elif self.world.host:
            self.world.end_job(state if self.world.host.phase == "running" else JobState.STOPPED)

    @precondition(lambda self: self.world.run)
    @rule(missing=MISSING, state=ENDS)
    def go_on(self, missing: list[str], state: JobState) -> None:
        self._go_on(missing, state)

    @precondition(lambda self: self.world.run)
    @rule(missing=MISSING, state=ENDS)
    def go_on_as_often_again(self, missing: list[str], state: JobState) -> None:
        self._go_on(missing, state)

    @precondition(lambda self: self.world.host)
    @rule()
    def job_process_died(self) -> None:
        self.world.end_job(JobState.ERROR)

    @precondition(lambda self: self.world.checks)
    @rule(missing=MISSING)
    def requirements_checked(self, missing: list[str]) -> None:
        self.world.answer_check(missing)

    @rule(job_id=JOB_IDS, progression=st.integers(0, 100))
    def progression(self, job_id: int, progression: int) -> None:
        host = self.world.host
        runs = host is not None and (host.job_id, host.phase) == (job_id, "running")
        effects = self.world.feed(ev.ProgressionReported(job_id, progression))
        assert effects == ([fx.ReportProgression(job_id, progression)] if runs else [])

    @rule(job_id=JOB_IDS, refusal=st.sampled_from([None, "no"]))
    def updated(self, job_id: int, refusal: str | None) -> None:
        self.world.feed(ev.JobUpdated(job_id, refusal))

    @rule(job_id=st.just(99), state=ENDS)
    def end_of_a_job_nobody_knows(self, job_id: int, state: JobState) -> None:
        effects = self.world.feed(ev.JobEnded(JobResult(job_id, state)))
        assert [type(effect) for effect in effects] == [fx.Warn]

    # The operator

    @rule(job_ids=st.frozensets(JOB_IDS, max_size=1))
    def black_list_fetched(self, job_ids: frozenset[int]) -> None:
        self.world.black_list.answered(job_ids)
        assert self.world.feed(ev.BlackListFetched(job_ids)) == []
        self._deliver(control("get_black_list"), Lane.DIRECT)

    @precondition(lambda self: self.mortal)
    @rule(by_order=st.booleans())
    def shutdown(self, by_order: bool) -> None:
        body = json.dumps(control("stop_worker")).encode()
        self.world.shut_down(Delivery(body, Lane.DIRECT) if by_order else None)

    @precondition(lambda self: self.world.shutting_down)
    @rule()
    def grace_expired(self) -> None:
        if self.world.run is not None:
            self.world.run.abandoned = True
        else:
            self.world.certain = False
        self.world.feed(ev.GraceExpired())

    @precondition(lambda self: self.mortal and not self.world.terminated)
    @rule(really=st.sampled_from([False, False, True]))
    def host_failed(self, really: bool) -> None:
        if not really:
            return
        self.world.shutting_down, self.world.host = True, None
        self.world.done.clear()
        self.world.unproven = None
        self.world.feed(ev.HostFailed("gone"))
        # The worker ends with what it has: it waits for nothing to come back.
        self.world.unproven = None
        assert self.world.terminated

    @invariant()
    def the_worker_knows_what_the_host_does(self) -> None:
        if hasattr(self, "world") and self.world.host is not None:
            assert self.world.lifecycle.current_job_id == self.world.host.job_id

    def teardown(self) -> None:
        """Everything comes to its end once the checks and the host answer."""
        if not hasattr(self, "world"):
            return
        while self.world.checks or self.world.host:
            self._go_on([], JobState.COMPLETED)
        assert self.world.lifecycle.current_job_id is None
        assert self.world.open == [], "every delivery that is not void is settled"
        if self.world.shutting_down and not self.world.terminated:
            self.world.restore_link()
            self.world.return_overdue()
            assert self.world.terminated, "what is waited for at the end is waited for a while only"


LifecycleMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLifecycle = LifecycleMachine.TestCase
# It takes 15 s of a processor's time, whatever share of one it gets.
TestLifecycle.pytestmark = [pytest.mark.timeout(300)]
