"""
A broker, a host and an orchestrator in thirty facts: the oracle of the lifecycle's state machine.

The world feeds a lifecycle, obeys every effect as far as it can be seen, and asserts at each effect that it is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.lifecycle.state import MOST_RETURNS
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.orders import (
    InitProcess,
    JobOrder,
    ReachedExpiration,
    StartProcess,
    StopProcess,
    UpdateProcess,
)
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.settings import JobSettings
from tests.unit.lifecycle_kit import BlackListModel, received

OrderKey = tuple[int, bytes, int, int]

EXPIRED = "Job TTL has been reached."

_PUBLISHES_BEFORE = {
    Case.COMPLETED: JobState.COMPLETED,
    Case.STOPPED: JobState.STOPPED,
    Case.FAILED: JobState.ERROR,
    Case.REQUIREMENTS_LIMIT: JobState.ERROR,
    Case.ATTEMPTS_LIMIT: JobState.ERROR,
}
#: What is put back, and what another order that comes to a busy worker is.
_PUT_BACK = (Case.ENGAGED, Case.SUSPENDED, Case.SHUTTING_DOWN)
#: What a worker that has ended does not do any more.
_STARTS = (
    cmd.RunJob,
    cmd.InitialiseJob,
    cmd.StartJob,
    fx.CheckRequirements,
    fx.ConsumeJobs,
    fx.AnnounceCreated,
    fx.AwaitReturn,
    fx.Terminate,
)


#: A job that is in hand before one of these and not after did not run.
_ENDS_NO_JOB = (ev.LinkLost, ev.HostFailed, ev.RequirementsChecked)


@dataclass
class HostJob:
    """What the host has in hand."""

    job_id: int
    phase: str
    discarding: bool = False


@dataclass
class Run:
    """The job the lifecycle has in hand, as the orchestrator sees it."""

    job_id: int
    key: OrderKey
    attempts: int
    queued: bool
    holds: Delivery | None
    checking: bool = False
    told_to_end: bool = False
    expired: bool = False
    abandoned: bool = False


class World:
    """Everything around one lifecycle."""

    def __init__(self, limits: JobSettings, *, announces_start: bool) -> None:
        self.lifecycle = Lifecycle(limits, announces_start=announces_start)
        self.host: HostJob | None = None
        self.run: Run | None = None
        self.checks: list[int] = []
        #: Deliveries without settlement, and those the broker took back.
        self.open: list[Delivery] = []
        self.void: list[Delivery] = []
        #: What the broker delivers again.
        self.returning: list[Delivery] = []
        #: The same of the direct lane, whose messages are done with once they were obeyed.
        self.returning_direct: list[Delivery] = []
        #: Orders that are done with while the broker may not know it, with the attempts they had, and whether a copy
        #: with one attempt more took their place.
        self.done: dict[OrderKey, tuple[int, bool]] = {}
        #: Whether one of them is certain to come, and nothing else came first.
        self.certain = False
        self.linked = True
        #: What the clock was asked for last, while it counts.
        self.alarm: fx.AwaitReturn | None = None
        self.black_list = BlackListModel()
        self.max_jobs, self.jobs_ended = limits.max_jobs, 0
        self.unproven: tuple[OrderKey, Delivery, bool] | None = None
        self.unproven_direct: Delivery | None = None
        self.draining = False
        self.consuming = self.ready = self.suspended = self.shutting_down = self.holding_off = self.terminated = False

    @property
    def unsettled_order(self) -> Delivery | None:
        """The one order of the job queue that waits for its settlement: prefetch is 1."""
        return next((delivery for delivery in self.open if delivery.lane is Lane.JOBS), None)

    @property
    def awaits(self) -> bool:
        """Whether an order that is done with is waited for, whatever the switches say."""
        return self.certain and bool(self.done)

    # Events

    def deliver(self, delivery: Delivery) -> list[Effect]:
        """Deliver one message."""
        event = received(delivery)
        if delivery.lane is Lane.JOBS:
            assert self.unsettled_order is None
            self.unproven = self.alarm = None
        fetched_for_another = self.consuming and (self.suspended or self.shutting_down) and self.run is None
        expected, run = self._expected_of(event), self.run
        phase = self._phase()
        if isinstance(event, ev.OrderReceived) and run is not None:
            self._note_what_ends(event.order, run)
        self.open.append(delivery)
        effects = self.feed(event, accepts=self._run_of(event) if run is None else None)
        settled = [effect for effect in effects if isinstance(effect, fx.Settle)]
        if expected is not None:
            assert settled == expected
            assert not [effect for effect in effects if isinstance(effect, cmd.RunJob | fx.CheckRequirements)]
        else:
            assert fx.Settle(delivery, Case.REPORTED) not in settled, "only what is done with is dropped as reported"
        if isinstance(event, ev.OrderReceived):
            if delivery.lane is Lane.JOBS and isinstance(event.order, JobOrder):
                if fetched_for_another and expected is None:
                    case = Case.SHUTTING_DOWN if self.shutting_down else Case.SUSPENDED
                    assert settled == [fx.Settle(delivery, case)], "what was not waited for goes back at once"
                    assert not self.consuming, "and nothing more is fetched"
                assert effects or expected == [], "only the order of the job in hand is adopted without a word"
            self._check_direct(event, run, phase, effects)
        assert delivery not in self.open or delivery.lane is Lane.JOBS, "direct messages are settled at once"
        assert delivery not in self.open or self.lifecycle.current_job_id is not None, "only a job in hand keeps one"
        return effects

    def _phase(self) -> str | None:
        """How far the job in hand is, as its requirements and the host tell."""
        if self.run is None:
            return None
        return "checking" if self.run.checking else self.host.phase if self.host else None

    def _note_what_ends(self, order: object, run: Run) -> None:
        if isinstance(order, StopProcess | ReachedExpiration) and order.job_id == run.job_id:
            run.told_to_end = True
            run.expired |= isinstance(order, ReachedExpiration)

    def _check_direct(self, event: ev.OrderReceived, run: Run | None, phase: str | None, effects: list[Effect]) -> None:
        """What an order about one job must do, and at once."""
        order, delivery = event.order, event.delivery
        kinds = [type(effect) for effect in effects if not isinstance(effect, fx.AwaitReturn)]
        named = run is not None and run.job_id == getattr(order, "job_id", None)
        idle = run is None and not self.shutting_down
        begins = isinstance(order, InitProcess) or (isinstance(order, JobOrder) and delivery.lane is Lane.DIRECT)
        if delivery.redelivered and (begins or (isinstance(order, StartProcess) and not named)):
            assert kinds == [fx.Warn, fx.Settle], "a message that was obeyed begins nothing a second time"
        elif begins and idle:
            assert self.run is not None, "a fresh message begins a job in an idle worker"
        elif isinstance(order, StartProcess) and not named:
            assert [e.result.job_id for e in effects if isinstance(e, fx.PublishResult)] == [order.job_id]
        elif isinstance(order, StartProcess) and phase == "ready":
            assert (cmd.StartJob in kinds) == (not run.told_to_end and not self.shutting_down)
        elif isinstance(order, UpdateProcess):
            answers = [kind for kind in kinds if kind in (cmd.UpdateJob, fx.RefuseUpdate)]
            early = phase in ("checking", "initialising")
            assert answers == ([fx.RefuseUpdate if early else cmd.UpdateJob] if named else [])
        elif isinstance(order, StopProcess | ReachedExpiration) and named and phase == "checking":
            self._check_end_at_once(run, effects)

    def _check_end_at_once(self, run: Run, effects: list[Effect]) -> None:
        result = failed_result(run.job_id, EXPIRED) if run.expired else JobResult(run.job_id, JobState.STOPPED)
        assert [effect.result for effect in effects if isinstance(effect, fx.PublishResult)] == [result]
        if run.holds is not None:
            case = Case.FAILED if run.expired else Case.STOPPED
            assert fx.Settle(run.holds, case) in effects, "its order is settled with its result"
        assert self.run is None, "a job that is still checked waits for nobody"

    def _expected_of(self, event: ev.Event) -> list[Effect] | None:
        """The settlements of an order that must be recognised; ``None`` when it need not be."""
        if not (isinstance(event, ev.OrderReceived) and isinstance(event.order, JobOrder)):
            return None
        delivery, key = event.delivery, _key(event.delivery, event.order.job_id)
        if delivery.lane is Lane.DIRECT:
            return None
        run = self.run
        if run and run.queued and run.holds is None and _came_back(delivery, run.attempts) and run.key[:2] == key[:2]:
            if delivery.returns >= MOST_RETURNS:
                return [fx.Settle(delivery, Case.REDELIVERED)]
            run.holds = delivery
            return []
        if key not in self.done:
            self.certain = False
            return None
        attempts, counted = self.done[key]
        returned = _came_back(delivery, attempts)
        if not (returned and counted and delivery.attempts != attempts):
            del self.done[key]
            if returned:
                return [fx.Settle(delivery, Case.REPORTED)]
        self.certain = False
        return None

    def _run_of(self, event: ev.Event) -> Run | None:
        if not isinstance(event, ev.OrderReceived) or not isinstance(event.order, JobOrder | InitProcess):
            return None
        key = _key(event.delivery, event.order.job_id)
        queued = isinstance(event.order, JobOrder) and event.delivery.lane is Lane.JOBS
        return Run(event.order.job_id, key, event.delivery.attempts, queued, event.delivery if queued else None)

    def lose_link(self, *, acknowledgement_too: bool) -> list[Effect]:
        """The broker takes back what is unsettled, and perhaps what it was just told is done."""
        for delivery in self.open:
            self.returning.append(again(delivery, redelivered=True))
        self.void += self.open
        self.open = []
        revoked = self.terminated and self.ready and self.unproven is not None
        if self.unproven is not None:
            key, delivery, counted = self.unproven
            self.done[key] = delivery.attempts, counted
            if acknowledgement_too or revoked:
                self.returning.append(again(delivery, redelivered=True))
        if self.unproven_direct is not None and acknowledgement_too:
            self.returning_direct.append(again(self.unproven_direct, redelivered=True))
        self.unproven = self.unproven_direct = None
        run = self.run
        if run:
            run.holds = None
        self.linked = False
        self.certain |= revoked
        self.terminated &= not revoked
        effects = self.feed(ev.LinkLost())
        assert (fx.Stay() in effects) == revoked, "the end waits for an order whose settlement was not sent"
        assert not [effect for effect in effects if isinstance(effect, fx.PublishResult | fx.Settle)]
        kept = run if run and not (run.queued and run.checking) else None
        assert self.run is kept, "only a queued job that did not run yet goes with the link"
        return effects

    def restore_link(self) -> None:
        """The broker delivers again."""
        self.linked = True
        assert isinstance(self.feed(ev.LinkRestored())[0], fx.FetchBlackList)

    def return_overdue(self) -> None:
        """The clock says that what may come back would have come by now."""
        assert self.alarm is not None
        stale = self.lifecycle.feed(ev.ReturnOverdue(self.alarm.number - 1))
        assert stale == [], "the clock's answer to an older question says nothing"
        if self.alarm.brief:
            self.certain = False
        else:
            self.done.clear()
        self.feed(ev.ReturnOverdue(self.alarm.number))

    def answer_check(self, missing: list[str]) -> list[Effect]:
        """The oldest look for requirements ends; its job may be gone."""
        job_id = self.checks.pop(0)
        run = self.run
        awaited = run is not None and run.checking and run.job_id == job_id
        if awaited:
            run.checking = False
        effects = self.feed(ev.RequirementsChecked(job_id, missing))
        runs = any(isinstance(effect, cmd.RunJob) for effect in effects)
        assert runs == (awaited and not missing)
        assert awaited or effects == [], "an answer that comes too late changes nothing"
        return effects

    def shut_down(self, request: Delivery | None) -> list[Effect]:
        """A signal, or the order that is given, asks the worker to end."""
        run, first, self.shutting_down = self.run, not self.shutting_down, True
        effects = self.feed(ev.ShutdownRequested()) if request is None else self.deliver(request)
        effects = [effect for effect in effects if not (isinstance(effect, fx.Settle) and effect.delivery is request)]
        published = [effect.result for effect in effects if isinstance(effect, fx.PublishResult)]
        settled = [effect for effect in effects if isinstance(effect, fx.Settle)]
        if not first:
            assert effects == [], "a second request changes nothing"
        elif run is None or run.checking:
            direct = run is not None and not run.queued
            assert published == ([JobResult(run.job_id, JobState.STOPPED)] if direct else [])
            assert settled == ([fx.Settle(run.holds, Case.SHUTTING_DOWN)] if run and run.holds else [])
            assert self.run is None
            assert self.terminated or self.awaits
            assert not self.draining
        else:
            assert (published, settled) == ([], [])
            assert self.run is run
            assert self.draining, "the job in hand has its grace from now on"
        return effects

    def end_job(self, state: JobState) -> list[Effect]:
        """The host reports the end of its job."""
        assert self.host is not None
        assert self.run is not None
        job_id, self.host = self.host.job_id, None
        run, state = self.run, JobState.ERROR if self.run.expired else state
        given_back = run.abandoned and run.queued and not run.told_to_end and state is not JobState.COMPLETED
        if run.queued and run.holds is None and not given_back:
            self.done[run.key] = run.attempts, False
            self.certain = not self.holding_off
        effects = self.feed(ev.JobEnded(JobResult(job_id, state)))
        settled = [effect.case for effect in effects if isinstance(effect, fx.Settle)]
        published = [effect.result for effect in effects if isinstance(effect, fx.PublishResult)]
        if given_back:
            assert published == []
            assert settled == ([Case.SHUTTING_DOWN] if run.holds else [])
        else:
            assert [(result.job_id, result.state) for result in published] == [(job_id, state)]
            assert len(settled) == (1 if run.holds else 0)
        if run.expired and not given_back:
            assert published == [failed_result(job_id, EXPIRED)]
        assert self.lifecycle.current_job_id is None
        return effects

    def feed(self, event: ev.Event, *, accepts: Run | None = None) -> list[Effect]:
        """Feed one event and obey what comes of it."""
        before = self.run
        effects = self.lifecycle.feed(event)
        in_hand = self.lifecycle.current_job_id
        if before is None and in_hand is not None:
            assert accepts is not None, "a job comes into hand only by an order"
            assert in_hand == accepts.job_id
            self.run = accepts
        if before is not None and in_hand is None and not isinstance(event, _ENDS_NO_JOB):
            self.jobs_ended += 1
            self.shutting_down |= self.jobs_ended == self.max_jobs
        self._settle_and_obey(effects)
        if in_hand is None:
            self.run, self.holding_off = None, False
        elif before is not None:
            about_it = [e for e in effects if isinstance(e, fx.PublishResult) and e.result.job_id == in_hand]
            assert not about_it, "a job in hand has no terminal message yet"
        self._check_consumer(effects)
        return effects

    # Effects

    def _settle_and_obey(self, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        for place, effect in enumerate(effects):
            if isinstance(effect, fx.Settle):
                self._settle(effect, effects[:place])
            else:
                assert not (self.terminated and isinstance(effect, _STARTS)), "after Terminate nothing is begun"
                self._obey(effect)
        assert not any(isinstance(effect, fx.Terminate) for effect in effects[:-1]), "Terminate is the last word"

    def _settle(self, settle: fx.Settle, published: list[Effect]) -> None:
        delivery = settle.delivery
        assert delivery not in self.void, "the broker has taken this delivery back"
        assert delivery in self.open, "settled twice"
        self.open.remove(delivery)
        if settle.case in _PUBLISHES_BEFORE:
            states = [effect.result.state for effect in published if isinstance(effect, fx.PublishResult)]
            assert states == [_PUBLISHES_BEFORE[settle.case]]
        delays = [effect for effect in published if isinstance(effect, fx.Delay) and effect.delivery is delivery]
        counts = [delay.count for delay in delays]
        if settle.case is Case.ENGAGED:
            assert self.run is not None
        if settle.case is Case.REQUIREMENTS_MISSING:
            assert counts == [Count.SOFT_REJECTS]
        elif settle.case is Case.REDELIVERED:
            assert counts == [Count.ATTEMPTS]
        elif settle.case in _PUT_BACK:
            foreign = self.run is None or delivery is not self.run.holds
            lost_before = delivery.redelivered and foreign
            assert counts == [Count.ATTEMPTS if lost_before else Count.PUT_BACKS], (
                "no failure, unless it was lost before"
            )
            self.holding_off |= self.run is not None and foreign
        else:
            assert counts == [], "what is done with has no copy"
        self._note_acknowledgement(delivery, getattr(received(delivery), "order", None), Count.ATTEMPTS in counts)

    def _note_acknowledgement(self, delivery: Delivery, order: object, counted: bool) -> None:
        if delivery.lane is Lane.DIRECT:
            about_a_job = JobOrder | InitProcess | StartProcess | StopProcess | UpdateProcess | ReachedExpiration
            self.unproven_direct = delivery if isinstance(order, about_a_job) else None
        elif isinstance(order, JobOrder):
            self.unproven = (_key(delivery, order.job_id), delivery, counted)

    def _obey(self, effect: Effect) -> None:
        match effect:
            case cmd.RunJob() | cmd.InitialiseJob():
                assert self.host is None, "never two jobs at once"
                self.host = HostJob(effect.job_id, "running" if isinstance(effect, cmd.RunJob) else "initialising")
            case cmd.StartJob():
                assert self.host == HostJob(effect.job_id, "ready"), "only an initialised job is started"
                self.host.phase = "running"
            case cmd.DiscardJob():
                assert self.host is not None
                assert (self.host.job_id, self.host.phase) == (effect.job_id, "ready")
                self.host.discarding = True
            case cmd.StopJob() | cmd.UpdateJob():
                assert self.host is not None
                assert self.host.job_id == effect.job_id
            case fx.CheckRequirements():
                assert self.run is not None
                assert (self.run.job_id, self.host) == (effect.job_id, None)
                self.run.checking = True
                self.checks.append(effect.job_id)
            case fx.Delay():
                raised = {effect.count.value: getattr(effect.delivery, effect.count.value) + 1}
                self.returning.append(again(effect.delivery, redelivered=False, **raised))
            case fx.ReportProgression():
                assert self.run is not None, "no progression after a result"
                assert self.run.job_id == effect.job_id
            case fx.ConsumeJobs() | fx.PauseJobs():
                assert self.consuming is isinstance(effect, fx.PauseJobs), "consuming is asked for in turns"
                held = self.run is not None and self.run.holds in self.open
                assert isinstance(effect, fx.PauseJobs) or not held, "one order at a time"
                self.consuming = not self.consuming
            case fx.AwaitReturn():
                assert self.alarm is None or effect.brief is not self.alarm.brief, "the clock is asked once"
                self.alarm = effect
            case fx.FetchBlackList():
                self.black_list.asked()
            case fx.DeleteBlackListed():
                self.black_list.dropped(effect.job_id)
            case fx.ReportBlackList():
                assert list(effect.job_ids) == sorted(self.black_list.job_ids)
            case fx.Drain():
                assert self.shutting_down
                assert self.host is not None, "grace is for a job that the host has"
                assert not self.draining, "grace is given once"
                self.draining = True
            case fx.Terminate():
                self.terminated = True
            case _:
                pass

    def _check_consumer(self, effects: Iterable[Effect]) -> None:
        run = self.run
        engaged = run is not None and not run.queued
        owed = self.awaits or (run is not None and run.queued and run.holds is None)
        wanted = self.ready and not (self.holding_off or engaged)
        wanted &= owed or not (self.suspended or self.shutting_down)
        if wanted and run is not None and run.holds:
            # One that was paused is not started beside an order in hand; one that runs is left alone.
            assert fx.PauseJobs() not in effects
        else:
            assert self.consuming == wanted
        if self.shutting_down and run is None:
            assert self.terminated == (not self.awaits), "an idle worker that was told to end has ended, or waits"
        self._check_alarm()

    def _check_alarm(self) -> None:
        waiting = self.linked and self.consuming and self.run is None and bool(self.done)
        if waiting:
            assert self.alarm is not None, "no order is waited for without end"
            assert self.alarm.brief == (self.shutting_down or self.suspended)
        else:
            self.alarm = None


def again(delivery: Delivery, **changes: object) -> Delivery:
    """The same order as the broker delivers it next time."""
    counts = {count.value: getattr(delivery, count.value) for count in Count}
    facts = {**counts, **changes}
    return Delivery(delivery.body, delivery.lane, **facts)  # type: ignore[arg-type]


def _came_back(delivery: Delivery, attempts: int) -> bool:
    # Another worker may have sent it through the delay queue, which counts an attempt and forgets the redelivery.
    return delivery.redelivered or delivery.attempts > attempts


def _key(delivery: Delivery, job_id: int) -> OrderKey:
    return job_id, delivery.body, delivery.soft_rejects, delivery.put_backs
