"""
Runs a scenario without broker or second process: the dispatcher, the lifecycle and the inline host alone.

The exchange is in memory and as strict as a broker with a prefetch of one: an order is delivered when the last one is
settled and the worker consumes; a direct message when nothing else is being done, or while the job runs, which inline
is whenever the job reports its progression.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcai_worker_sdk.host.inline import InlineHost
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import Progression, Response
from mcai_worker_sdk.services.system_info import SystemSampler
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.dispatch import Dispatcher, missing_paths
from mcai_worker_sdk.supervisor.identity import utc_now, worker_identity
from tests.contract.observation import Observation, mask_messages
from tests.contract.on_rabbitmq import with_gate
from tests.contract.script import Await, AwaitBackend, Direct, Ended, Gate, Pause, Scenario, Step, Submit
from tests.support.workers import FOLDER, QUEUE

__all__ = ["run_inline"]


def run_inline(scenario: Scenario) -> Observation:
    """Run one scenario in this thread. The worker's description is read from the current directory."""
    with tempfile.TemporaryDirectory() as folder:
        world = _World(scenario, Path(folder) / "gate")
        world.run()
    return Observation(messages=mask_messages(world.messages), left_in_queue=len(world.queue))


@dataclass(slots=True)
class _BlackList:
    """The backend's side of the black list, answering at once."""

    job_ids: set[int]
    on_event: Callable[[ev.Event], None]
    requests: list[str] = field(default_factory=list)

    def fetch(self) -> None:
        self.requests.append("GET /api/step_flow/blacklist")
        self.on_event(ev.BlackListFetched(frozenset(self.job_ids)))

    def delete(self, job_id: int) -> None:
        self.requests.append(f"DELETE /api/step_flow/blacklist/{job_id}")
        self.job_ids.discard(job_id)
        self.on_event(ev.BlackListFetched(frozenset(self.job_ids)))


class _World:
    """Worker, exchange and script at once: whoever is due is called, nobody waits."""

    def __init__(self, scenario: Scenario, gate: Path) -> None:
        self.messages: list[dict[str, Any]] = []
        self.queue: deque[Delivery] = deque()
        self._gate = gate
        self._steps = deque(scenario.steps)
        self._awaited: Counter[str] = Counter()
        self._direct: deque[Delivery] = deque()
        self._consuming = False
        self._unsettled: Delivery | None = None
        self._terminated = False
        settings = Settings.load({"AMQP_QUEUE": QUEUE, **scenario.environment})
        worker = _make_worker()
        definition = worker._definition()
        identity = worker_identity(settings, definition.description, definition.model.json_schema)
        sampler = SystemSampler()
        sampler.sample()
        self._host = InlineHost(definition, settings)
        self._black_list = _BlackList(set(scenario.black_list), self._take)
        self._ends_itself = scenario.ends_itself
        self._dispatcher = Dispatcher(
            lifecycle=Lifecycle(settings.job),
            exchange=self,
            host=self._host,
            identity=identity,
            system_information=sampler,
            black_list=self._black_list,
            check_requirements=self._check_requirements,
            drain=lambda: None,
            terminate=self._terminate,
        )

    def run(self) -> None:
        _run_now(self._dispatcher.announce("worker_discovery"))
        self._black_list.fetch()
        self._host.attach(self._take)
        self._go_on()
        if not self._ends_itself:
            self._steps += [Direct({"type": "status"}), Await("worker_status")]
            self._go_on()
            self._take(ev.ShutdownRequested())
        assert not self._steps, f"Nobody publishes what the script waits for: {self._steps[0]}"
        assert self._terminated
        _run_now(self._dispatcher.announce("worker_terminated"))

    # The exchange, as the dispatcher sees it

    async def publish(self, response: Response) -> None:
        self._record(response)

    def publish_progression(self, response: Response) -> None:
        self._record(response)

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        assert count is not Count.ATTEMPTS, "No order here was lost with its worker."
        self.queue.append(replace(delivery, **{count.value: getattr(delivery, count.value) + 1}))

    async def settle(self, delivery: Delivery) -> None:
        if delivery.lane is Lane.JOBS:
            assert delivery is self._unsettled, "An order is settled that is not in hand."
            self._unsettled = None

    async def consume_jobs(self) -> None:
        self._consuming = True

    async def pause_jobs(self) -> None:
        self._consuming = False

    def _record(self, response: Response) -> None:
        exchange, routing_key = response.route
        body = json.loads(json.dumps(response.as_json(utc_now())))
        self.messages.append({"exchange": exchange, "routing_key": routing_key, "body": body})
        if isinstance(response, Progression):
            self._follow_script()

    # The script

    def _go_on(self) -> None:
        """Follow the script and deliver orders until neither can go on."""
        while self._follow_script() or self._deliver():
            pass

    def _follow_script(self) -> bool:
        """Take steps until one has to wait; direct messages are delivered at once. True when any was taken."""
        went_on = False
        while self._steps and self._take_step(self._steps[0]):
            self._steps.popleft()
            went_on = True
            while self._direct:
                self._receive(self._direct.popleft())
        return went_on

    def _take_step(self, step: Step) -> bool:
        match step:
            case Submit():
                self.queue.append(Delivery(self._bytes(step.body)))
            case Direct():
                self._direct.append(Delivery(self._bytes(step.body), lane=Lane.DIRECT))
            case Await():
                return self._is_there(step)
            case AwaitBackend():
                return step.line in self._black_list.requests
            case Gate():
                self._gate.touch()
            case Pause():
                pass
            case Ended():
                return self._terminated
            case _:
                raise NotImplementedError(f"{step} means nothing without a broker.")
        return True

    def _is_there(self, step: Await) -> bool:
        if step.by == "reference" or step.routing_key == "worker_terminated":
            return True
        published = sum(message["routing_key"] == step.routing_key for message in self.messages)
        if published <= self._awaited[step.routing_key]:
            return False
        self._awaited[step.routing_key] += 1
        return True

    def _deliver(self) -> bool:
        if not self._consuming or self._unsettled is not None or not self.queue:
            return False
        self._unsettled = self.queue.popleft()
        self._receive(self._unsettled)
        return True

    def _receive(self, delivery: Delivery) -> None:
        self._take(ev.read_delivery(delivery))

    def _take(self, event: ev.Event) -> None:
        _run_now(self._dispatcher.handle(event))

    def _terminate(self, exit_code: int) -> None:
        assert exit_code == 0
        self._terminated = True

    def _bytes(self, body: Mapping[str, Any] | bytes) -> bytes:
        return body if isinstance(body, bytes) else json.dumps(with_gate(body, self._gate)).encode()

    def _check_requirements(self, job_id: int, paths: Sequence[str]) -> None:
        self._take(ev.RequirementsChecked(job_id, missing_paths(paths)))


def _make_worker() -> Any:
    specification = importlib.util.spec_from_file_location("contract_worker", FOLDER / "worker.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.CodeWorker(module.CodeParameters, module.mcai.WorkerDescription(None))


def _run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends, also from within another one."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("Something waits where everybody answers at once.")
