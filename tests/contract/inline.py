"""
Runs a scenario without broker or second process: the worker of the script opposite the StepFlow that authors test with.

A direct message is delivered when nothing else is being done, or while the job runs, which inline is whenever the job
reports its progression.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcai_worker_sdk.testing import Message, StepFlow
from tests.contract.observation import Observation, mask_messages
from tests.contract.on_rabbitmq import with_gate
from tests.contract.script import Await, AwaitBackend, Direct, Ended, Gate, Pause, Scenario, Step, Submit
from tests.support.workers import FOLDER, QUEUE

__all__ = ["run_inline"]


def run_inline(scenario: Scenario) -> Observation:
    """Run one scenario in this thread. The worker's description is read from the current directory."""
    with tempfile.TemporaryDirectory() as folder:
        return _Conversation(scenario, Path(folder) / "gate").hold()


class _Conversation:
    """Worker, StepFlow and script at once: whoever is due is called, nobody waits."""

    def __init__(self, scenario: Scenario, gate: Path) -> None:
        self._gate = gate
        self._steps = deque(scenario.steps)
        self._awaited: Counter[str] = Counter()
        self._ends_itself = scenario.ends_itself
        self._stepflow = StepFlow(
            _make_worker(),
            environment={"AMQP_QUEUE": QUEUE, **scenario.environment},
            black_list=scenario.black_list,
            on_message=self._heard,
        )

    def hold(self) -> Observation:
        with self._stepflow as stepflow:
            self._go_on()
            if not self._ends_itself:
                self._steps += [Direct({"type": "status"}), Await("worker_status")]
                self._go_on()
            assert not self._steps, f"Nobody publishes what the script waits for: {self._steps[0]}"
            assert stepflow.has_ended == self._ends_itself
        assert stepflow.has_ended
        messages = [
            {"exchange": message.exchange, "routing_key": message.routing_key, "body": message.body}
            for message in stepflow.messages
        ]
        return Observation(messages=mask_messages(messages), left_in_queue=stepflow.waiting_orders)

    def _heard(self, message: Message) -> None:
        if message.routing_key == "job_progression":
            self._follow_script()

    def _go_on(self) -> None:
        """Follow the script and deliver orders until neither can go on."""
        while self._follow_script() or self._stepflow.run():
            pass

    def _follow_script(self) -> bool:
        """Take steps until one has to wait; True when any was taken."""
        went_on = False
        while self._steps and self._is_due(self._steps[0]):
            # Taken out first: a direct message may lead to a progression, and so to here.
            self._take(self._steps.popleft())
            went_on = True
        return went_on

    def _is_due(self, step: Step) -> bool:
        match step:
            case Await():
                return self._is_there(step)
            case AwaitBackend():
                return step.line in self._stepflow.backend_requests
            case Ended():
                return self._stepflow.has_ended
        return True

    def _take(self, step: Step) -> None:
        match step:
            case Submit():
                self._stepflow.submit(self._content(step.body))
            case Direct():
                self._stepflow.send(self._content(step.body))
            case Gate():
                self._gate.touch()
            case Await() | AwaitBackend() | Ended() | Pause():
                pass
            case _:
                raise NotImplementedError(f"{step} means nothing without a broker.")

    def _is_there(self, step: Await) -> bool:
        if step.by == "reference" or step.routing_key == "worker_terminated":
            return True
        published = sum(message.routing_key == step.routing_key for message in self._stepflow.messages)
        if published <= self._awaited[step.routing_key]:
            return False
        self._awaited[step.routing_key] += 1
        return True

    def _content(self, body: Mapping[str, Any] | bytes) -> Mapping[str, Any] | bytes:
        return body if isinstance(body, bytes) else with_gate(body, self._gate)


def _make_worker() -> Any:
    specification = importlib.util.spec_from_file_location("contract_worker", FOLDER / "worker.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.CodeWorker(module.CodeParameters, module.mcai.WorkerDescription(None))
