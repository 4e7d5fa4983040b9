"""What the lifecycle's tests are written with: orders as StepFlow sends them, and a driver that feeds them."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from mcai_worker_sdk.errors import ProtocolError
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.orders import parse_order
from mcai_worker_sdk.protocol.responses import JobResult, JobState
from mcai_worker_sdk.settings import JobSettings

E = TypeVar("E")

#: Effects that reach the orchestrator as a job's last word.
TERMINAL = (fx.PublishResult, fx.PublishUnknownError)


def job(job_id: int = 7, *, requires: list[str] | None = None, **values: Any) -> dict[str, Any]:
    """The body of a job order."""
    parameters = [{"id": name, "type": "string", "value": value} for name, value in values.items()]
    if requires is not None:
        parameters.append({"id": "requirements", "type": "requirements", "value": {"paths": requires}})
    return {"job_id": job_id, "parameters": parameters}


def control(order_type: str, job_id: int | None = None, **values: Any) -> dict[str, Any]:
    """The body of a direct message."""
    if job_id is None:
        return {"type": order_type}
    return {"type": order_type, **job(job_id, **values)}


def of_kind(effects: Iterable[Effect], kind: type[E]) -> list[E]:
    """The effects of one kind, in order."""
    return [effect for effect in effects if isinstance(effect, kind)]


def cases(effects: Iterable[Effect]) -> list[Case]:
    """Why deliveries were settled, in order."""
    return [settle.case for settle in of_kind(effects, fx.Settle)]


def results(effects: Iterable[Effect]) -> list[tuple[int, JobState]]:
    """The published results, in order."""
    return [(effect.result.job_id, effect.result.state) for effect in of_kind(effects, fx.PublishResult)]


def without_warnings(effects: Iterable[Effect]) -> list[Effect]:
    """What is seen outside of the log."""
    return [effect for effect in effects if not isinstance(effect, fx.Warn)]


def sent_back(delivery: Delivery, case: Case, count: Count = Count.PUT_BACKS, *, job_id: int = 7) -> list[Effect]:
    """What becomes of an order whose copy takes its place."""
    return [fx.Delay(delivery, job_id, count), fx.Settle(delivery, case)]


class Driver:
    """Feeds a lifecycle whose host is ready, and keeps every effect in ``effects``."""

    def __init__(self, *, ready: bool = True, announces_start: bool = False, **limits: Any) -> None:
        self.lifecycle = Lifecycle(JobSettings(**limits), announces_start=announces_start)
        self.effects: list[Effect] = []
        if ready:
            self.feed(ev.HostReady())

    def feed(self, event: ev.Event) -> list[Effect]:
        """Feed one event."""
        effects = self.lifecycle.feed(event)
        self.effects += effects
        return effects

    def deliver(self, content: dict[str, Any] | bytes, **properties: Any) -> tuple[Delivery, list[Effect]]:
        """Deliver a body as the supervisor does: parsed, or reported as unreadable."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        delivery = Delivery(body, **properties)
        return delivery, self.feed(received(delivery))

    def tell(
        self, order_type: str, job_id: int | None = None, *, redelivered: bool = False, **values: Any
    ) -> list[Effect]:
        """Deliver a direct message."""
        return self.deliver(control(order_type, job_id, **values), lane=Lane.DIRECT, redelivered=redelivered)[1]

    def end(self, job_id: int = 7, state: JobState = JobState.COMPLETED) -> list[Effect]:
        """The host reports the end of a job."""
        return self.feed(ev.JobEnded(JobResult(job_id, state)))

    def lose_link(self) -> list[Effect]:
        """The broker takes every unsettled order back."""
        return self.feed(ev.LinkLost())

    def initialised(self, job_id: int = 7, **values: Any) -> "Driver":
        """Bring a job to READY by direct messages."""
        self.tell("init_process", job_id, **values)
        self.feed(ev.JobInitialised(job_id))
        return self


def received(delivery: Delivery) -> ev.OrderReceived | ev.OrderUnreadable:
    """The event for a delivery."""
    try:
        return ev.OrderReceived(delivery, parse_order(delivery.body))
    except ProtocolError as error:
        return ev.OrderUnreadable(delivery, str(error), error.job_id)


class BlackListModel:
    """What the worker's black list must be."""

    def __init__(self) -> None:
        self.job_ids: set[int] = set()
        #: What direct messages said since the backend was asked, how much of it before the last question, and how many
        #: answers are to come.
        self.news: list[tuple[int, bool]] = []
        self.before = 0
        self.questions = 1

    def asked(self) -> None:
        """A question to the backend."""
        if self.questions == 0:
            self.news = []
        self.before = len(self.news)
        self.questions += 1

    def dropped(self, job_id: int) -> None:
        """The question that also tells the backend what became of a job."""
        self.asked()
        self.news = [one for one in self.news if one[0] != job_id]
        self.before = len(self.news)

    def told(self, job_id: int, *, listed: bool) -> None:
        """A direct message."""
        self.news.append((job_id, listed))
        (self.job_ids.add if listed else self.job_ids.discard)(job_id)

    def answered(self, job_ids: frozenset[int]) -> None:
        """The backend's list, as it was when it was asked."""
        self.job_ids = set(job_ids)
        for job_id, listed in self.news:
            (self.job_ids.add if listed else self.job_ids.discard)(job_id)
        self.news, self.before = self.news[self.before :], 0
        self.questions = 1 if self.questions > 1 else 0
