"""
A broker, a host and an orchestrator in thirty facts: the oracle of the lifecycle's state machine.

The world feeds a lifecycle, obeys every effect as far as it can be seen, and asserts at each effect that it is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.engine import Lifecycle, LifecycleOptions
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol.delivery import Delivery, Lane, Settlement
from mcai_worker_sdk.protocol.orders import InitProcess, JobOrder
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from tests.unit.lifecycle_kit import received

OrderKey = tuple[int, bytes, int]

_PUBLISHES_BEFORE = {
    Case.COMPLETED: JobState.COMPLETED,
    Case.STOPPED: JobState.STOPPED,
    Case.FAILED: JobState.ERROR,
    Case.REQUIREMENTS_LIMIT: JobState.ERROR,
    Case.ATTEMPTS_LIMIT: JobState.ERROR,
}
#: What a worker that has ended does not do any more.
_STARTS = (
    fx.RunJob,
    fx.InitialiseJob,
    fx.StartJob,
    fx.CheckRequirements,
    fx.ConsumeJobs,
    fx.AnnounceCreated,
    fx.Terminate,
)


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
    queued: bool
    holds: Delivery | None
    told_to_end: bool = False
    expired: bool = False
    abandoned: bool = False


class World:
    """Everything around one lifecycle."""

    def __init__(self, options: LifecycleOptions) -> None:
        self.lifecycle = Lifecycle(options)
        self.host: HostJob | None = None
        self.run: Run | None = None
        self.checks: list[int] = []
        #: Deliveries without settlement, and those the broker took back.
        self.open: list[Delivery] = []
        self.void: list[Delivery] = []
        #: What the broker delivers again.
        self.returning: list[Delivery] = []
        #: Orders that are done with while the broker may not know it.
        self.done: list[OrderKey] = []
        self.unproven: tuple[OrderKey, Delivery] | None = None
        self.consuming = self.ready = self.suspended = self.shutting_down = self.holding_off = self.terminated = False

    @property
    def unsettled_order(self) -> Delivery | None:
        """The one order of the job queue that waits for its settlement: prefetch is 1."""
        return next((delivery for delivery in self.open if delivery.lane is Lane.JOBS), None)

    # Events

    def deliver(self, delivery: Delivery) -> list[Effect]:
        """Deliver one message."""
        event = received(delivery)
        if delivery.lane is Lane.JOBS:
            assert self.unsettled_order is None
            self.unproven = None
        expected = self._expected_of(event)
        before = self.lifecycle.current_job_id
        self.open.append(delivery)
        effects = self.feed(event, accepts=self._run_of(event) if before is None else None)
        assert expected is None or [effect for effect in effects if isinstance(effect, fx.Settle)] == expected
        if expected is not None:
            assert not [effect for effect in effects if isinstance(effect, fx.RunJob | fx.CheckRequirements)]
        assert delivery not in self.open or delivery.lane is Lane.JOBS, "direct messages are settled at once"
        assert delivery not in self.open or self.lifecycle.current_job_id is not None, "only a job in hand keeps one"
        return effects

    def _expected_of(self, event: ev.Event) -> list[Effect] | None:
        """The settlements of an order that must be recognised; ``None`` when it need not be."""
        if not (isinstance(event, ev.OrderReceived) and isinstance(event.order, JobOrder)):
            return None
        delivery, key = event.delivery, _key(event.delivery, event.order.job_id)
        if delivery.lane is Lane.DIRECT:
            return None
        run = self.run
        if run and run.queued and run.holds is None and delivery.redelivered and run.key[:2] == key[:2]:
            run.holds = delivery
            return []
        if key not in self.done:
            return None
        self.done.remove(key)
        return [fx.Settle(delivery, Case.REPORTED)] if delivery.redelivered else None

    def _run_of(self, event: ev.Event) -> Run | None:
        if not isinstance(event, ev.OrderReceived) or not isinstance(event.order, JobOrder | InitProcess):
            return None
        key = _key(event.delivery, event.order.job_id)
        queued = isinstance(event.order, JobOrder) and event.delivery.lane is Lane.JOBS
        return Run(event.order.job_id, key, queued, event.delivery if queued else None)

    def lose_link(self, *, acknowledgement_too: bool) -> list[Effect]:
        """The broker takes back what is unsettled, and perhaps what it was just told is done."""
        for delivery in self.open:
            self.returning.append(again(delivery, redelivered=True))
        self.void += self.open
        self.open = []
        if self.unproven is not None:
            key, delivery = self.unproven
            self.done.append(key)
            if acknowledgement_too:
                self.returning.append(again(delivery, redelivered=True))
        self.unproven = None
        if self.run:
            self.run.holds = None
        return self.feed(ev.LinkLost())

    def end_job(self, state: JobState) -> list[Effect]:
        """The host reports the end of its job."""
        assert self.host is not None
        assert self.run is not None
        job_id, self.host = self.host.job_id, None
        run, state = self.run, JobState.ERROR if self.run.expired else state
        effects = self.feed(ev.JobEnded(JobResult(job_id, state)))
        given_back = run.abandoned and run.queued and not run.told_to_end and state is not JobState.COMPLETED
        settled = [effect.case for effect in effects if isinstance(effect, fx.Settle)]
        published = [effect.result for effect in effects if isinstance(effect, fx.PublishResult)]
        if given_back:
            assert published == []
            assert settled == ([Case.SHUTTING_DOWN] if run.holds else [])
        else:
            assert [(result.job_id, result.state) for result in published] == [(job_id, state)]
            assert len(settled) == (1 if run.holds else 0)
        if run.expired and not given_back:
            assert published == [failed_result(job_id, "Job TTL has been reached.")]
        if run.queued and run.holds is None and not given_back:
            self.done.append(run.key)
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
        if settle.case is Case.REQUIREMENTS_MISSING:
            assert fx.Delay(delivery) in published
        if settle.case is Case.ENGAGED:
            self.holding_off = True
        if settle.settlement is Settlement.REQUEUE:
            self.returning.append(again(delivery, redelivered=True))
        elif settle.settlement is Settlement.REJECT:
            self.returning.append(again(delivery, redelivered=False, attempts=delivery.attempts + 1))
        elif delivery.lane is Lane.JOBS and isinstance(order := getattr(received(delivery), "order", None), JobOrder):
            self.unproven = (_key(delivery, order.job_id), delivery)

    def _obey(self, effect: Effect) -> None:
        match effect:
            case fx.RunJob() | fx.InitialiseJob():
                assert self.host is None, "never two jobs at once"
                self.host = HostJob(effect.job_id, "running" if isinstance(effect, fx.RunJob) else "initialising")
            case fx.StartJob():
                assert self.host == HostJob(effect.job_id, "ready"), "only an initialised job is started"
                self.host.phase = "running"
            case fx.DiscardJob():
                assert self.host is not None
                assert (self.host.job_id, self.host.phase) == (effect.job_id, "ready")
                self.host.discarding = True
            case fx.StopJob() | fx.UpdateJob():
                assert self.host is not None
                assert self.host.job_id == effect.job_id
            case fx.CheckRequirements():
                self.checks.append(effect.job_id)
            case fx.Delay():
                soft_rejects = effect.delivery.soft_rejects + 1
                self.returning.append(again(effect.delivery, redelivered=False, soft_rejects=soft_rejects))
            case fx.ReportProgression():
                assert self.run is not None, "no progression after a result"
                assert self.run.job_id == effect.job_id
            case fx.ConsumeJobs() | fx.PauseJobs():
                assert self.consuming is isinstance(effect, fx.PauseJobs), "consuming is asked for in turns"
                self.consuming = not self.consuming
            case fx.Terminate():
                self.terminated = True
            case _:
                pass

    def _check_consumer(self, effects: Iterable[Effect]) -> None:
        if any(isinstance(effect, fx.Terminate) for effect in effects):
            self.shutting_down = True
        engaged = self.run is not None and not self.run.queued
        wanted = self.ready and not (self.suspended or self.shutting_down or self.holding_off or engaged)
        assert self.consuming == wanted
        if self.shutting_down and self.run is None:
            assert self.terminated, "an idle worker that was told to end has ended"


def again(delivery: Delivery, **changes: object) -> Delivery:
    """The same order as the broker delivers it next time."""
    facts = {"attempts": delivery.attempts, "soft_rejects": delivery.soft_rejects, **changes}
    return Delivery(delivery.body, delivery.lane, **facts)  # type: ignore[arg-type]


def _key(delivery: Delivery, job_id: int) -> OrderKey:
    return job_id, delivery.body, delivery.soft_rejects
