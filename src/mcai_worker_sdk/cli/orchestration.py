"""The commands against a broker: what StepFlow sends to workers, by hand."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcai_worker_sdk.cli.broker import Broker, Heard
from mcai_worker_sdk.cli.local import print_text, read_object
from mcai_worker_sdk.cli.values import read_values
from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.exchange.local import read_source_order
from mcai_worker_sdk.protocol.orders import JobOrder, parse_order
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.presentation import make_presentation
from mcai_worker_sdk.testing.orders import job_order, order_parameters

__all__ = [
    "Addressee",
    "Waiting",
    "ask",
    "direct_job",
    "job_message",
    "print_events",
    "read_orders",
    "submit_orders",
    "with_broker",
]

_RESULTS = frozenset({"job_completed", "job_stopped", "job_error"})
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Addressee:
    """Which workers a direct message is for."""

    worker: str | None = None
    """One worker, by its instance id."""
    queue: str | None = None
    """Those that take orders from this queue."""

    @property
    def headers(self) -> dict[str, str]:
        """What selects them; nothing said, all."""
        if self.worker is not None:
            return {"instance_id": self.worker}
        return {"broadcast": "true"} if self.queue is None else {"job_type": self.queue}


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long answers are waited for, and in which form they are printed."""

    seconds: float
    as_json: bool


def read_orders(
    paths: Sequence[Path], parameters: Sequence[str], parameter_file: Path | None, job_id: int
) -> list[tuple[str, dict[str, Any]]]:
    """
    The orders to send, each with the name to show.

    Raises:
        ExchangeError: A file cannot be read.
        ParameterError: There is none, or a parameter cannot be read.
        ProtocolError: A file holds no order.
    """
    orders = []
    for path in paths:
        body = read_source_order(path).body
        if not isinstance(parse_order(body), JobOrder):
            raise ParameterError(f"The order {str(path)!r} is not one to run a job; expected the type job, or none.")
        orders.append((path.name, json.loads(body)))
    values = {} if parameter_file is None else read_object(parameter_file)
    values |= read_values(parameters, {})
    if values or not paths:
        if not values and parameter_file is None:
            raise ParameterError("There is no order to send; expected files with orders, or -p name=value.")
        orders.append((f"job {job_id}", job_order(job_id, values)))
    return orders


def submit_orders(
    orders: Sequence[tuple[str, Mapping[str, Any]]],
    queue: str | None,
    *,
    priority: int | None,
    detach: bool,
    as_json: bool,
) -> int:
    """
    Put orders into a job queue one after the other, and wait for the result of each.

    Returns:
        The exit code: 0 when each job was completed, or none was waited for.
    """

    async def submit(broker: Broker, settings: Settings) -> int:
        chosen = queue or settings.amqp.queue
        if detach:
            for name, order in orders:
                await broker.submit(chosen, json.dumps(order).encode(), priority=priority)
                print_text(json.dumps(order) if as_json else f"{name}: job {order['job_id']} is in the queue {chosen}.")
            return 0
        states = []
        with make_presentation(wanted=not as_json) as screen:
            for name, order in orders:
                screen.start(Path(name))
                await broker.submit(chosen, json.dumps(order).encode(), priority=priority)
                body = await _result_of(broker, order["job_id"], screen.progress)
                screen.end(_as_result(body), None)
                if not screen.shows_responses:
                    print_text(json.dumps(body, ensure_ascii=False) if as_json else f"{name}: {_told(body)}")
                states.append(body["status"])
        return 0 if set(states) <= {JobState.COMPLETED} else 1

    return with_broker(submit)


def direct_job(message: Mapping[str, Any], addressee: Addressee, answers: frozenset[str], waiting: Waiting) -> int:
    """
    Send a direct message about one job, and wait for what the worker answers.

    Args:
        message: The message; has the job's id.
        addressee: Which workers get it.
        answers: Routing keys of what may come back, one of which ends the waiting.
        waiting: How long, and in which form.

    Returns:
        The exit code: 0 when there was an answer and it is no error.
    """

    async def send(broker: Broker, _settings: Settings) -> int:
        await broker.send(message, addressee.headers)
        heard = await _first(
            broker,
            lambda one: one.routing_key in answers and _of_job(one, message["job_id"]),
            waiting.seconds,
        )
        if heard is None:
            return _nobody(f"about job {message['job_id']}", waiting)
        print_text(json.dumps(heard.body, ensure_ascii=False) if waiting.as_json else _told(heard.body))
        # A refused update says why in a parameter.
        is_refused = heard.routing_key == "worker_updated" and heard.body.get("status") != JobState.UPDATED
        return 1 if is_refused or heard.body.get("status") == JobState.ERROR else 0

    return with_broker(send)


def ask(message: Mapping[str, Any], addressee: Addressee, answer: str | None, waiting: Waiting) -> int:
    """
    Send a direct message to workers, and print what each of them answers.

    Args:
        message: The message.
        addressee: Which workers get it.
        answer: Routing key of the answer; ``None`` where there is none.
        waiting: How long, and in which form. One worker alone is waited for until it has answered.

    Returns:
        The exit code: 0 when somebody answered, or nobody had to.
    """

    async def send(broker: Broker, _settings: Settings) -> int:
        await broker.send(message, addressee.headers)
        if answer is None:
            return 0
        loop = asyncio.get_running_loop()
        end = loop.time() + waiting.seconds
        bodies: list[Any] = []
        while not (bodies and addressee.worker is not None) and loop.time() < end:
            heard = await broker.next(max(0.0, end - loop.time()))
            if heard is not None and heard.routing_key == answer and _is_from(heard.body, addressee):
                bodies.append(heard.body)
        if waiting.as_json:
            print_text(json.dumps(bodies, indent=2, ensure_ascii=False))
        else:
            for body in bodies:
                print_text(_worker_line(body))
        return 0 if bodies else _nobody(str(message["type"]), waiting)

    return with_broker(send)


def print_events(*, as_json: bool, count: int | None) -> int:
    """
    Print every message of every worker, a line each, until Ctrl-C.

    Args:
        as_json: Each line is one JSON object with the message's whole body.
        count: End after so many.
    """

    async def listen(broker: Broker, _settings: Settings) -> int:
        printed = 0
        while count is None or printed < count:
            heard = await broker.next()
            assert heard is not None
            whole = json.dumps({"routing_key": heard.routing_key, "body": heard.body}, ensure_ascii=False)
            print_text(whole if as_json else f"{heard.routing_key}: {_told(heard.body)}")
            printed += 1
        return 0

    return with_broker(listen)


def with_broker(use: Callable[[Broker, Settings], Coroutine[Any, Any, int]]) -> int:
    """
    Connect as the environment says, and use the connection.

    Returns:
        The exit code: what ``use`` returned, 130 after Ctrl-C.

    Raises:
        SettingsError: A variable has a value that is not allowed.
        ExchangeError: The broker cannot be used.
    """
    settings = Settings.load()

    async def main() -> int:
        async with Broker(settings.amqp) as broker:
            return await use(broker, settings)

    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        sys.stderr.write("mcai-worker: interrupted; what was sent stays sent.\n")
        return _INTERRUPTED


async def _result_of(broker: Broker, job_id: int, on_progress: Callable[[int], None]) -> dict[str, Any]:
    while True:
        heard = await broker.next()
        assert heard is not None
        if not _of_job(heard, job_id):
            continue
        if heard.routing_key == "job_progression":
            on_progress(heard.body["progression"])
        elif heard.routing_key in _RESULTS:
            body: dict[str, Any] = heard.body
            return body


async def _first(broker: Broker, fits: Callable[[Heard], bool], seconds: float) -> Heard | None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        heard = await broker.next(left)
        if heard is not None and fits(heard):
            return heard
    return None


def _of_job(heard: Heard, job_id: int) -> bool:
    return isinstance(heard.body, dict) and heard.body.get("job_id") == job_id


def _is_from(body: Any, addressee: Addressee) -> bool:
    described = body.get("worker") or body.get("worker_description") if isinstance(body, dict) else None
    if not isinstance(described, dict):
        return False
    return addressee.worker in {None, described.get("instance_id")} and addressee.queue in {
        None,
        described.get("queue_name"),
    }


def _as_result(body: Mapping[str, Any]) -> JobResult:
    return JobResult(
        body["job_id"],
        JobState(body["status"]),
        body["destination_paths"],
        [ResultParameter(one["id"], one["type"], one["value"]) for one in body["parameters"]],
        body["execution_duration"],
    )


def _told(body: Any) -> str:
    """A message in one line, for a person."""
    if not isinstance(body, dict):
        return str(body)
    if "progression" in body:
        return f"job {body['job_id']} is at {body['progression']} %"
    if "status" in body:
        values = {entry["id"]: entry["value"] for entry in body.get("parameters", ())}
        more = values.get("message", body.get("message")) or ", ".join(body.get("destination_paths", ()))
        job = f"job {body['job_id']}: " if "job_id" in body else ""
        return f"{job}{body['status']}{f': {more}' if more else ''}"
    return _worker_line(body)


def _worker_line(body: Mapping[str, Any]) -> str:
    described = body.get("worker") or body.get("worker_description") or body
    words = [str(described.get(key, "?")) for key in ("instance_id", "name", "version", "queue_name")]
    if "activity" in described:
        words.append(described["activity"])
    if isinstance(body.get("job"), dict):
        words.append(f"job {body['job']['job_id']} since {body['job']['execution_duration']:.0f} s")
    if isinstance(body.get("black_list"), dict):
        words.append(f"black list: {', '.join(map(str, body['black_list']['job_ids'])) or 'empty'}")
    return "  ".join(words)


def _nobody(about: str, waiting: Waiting) -> int:
    sys.stderr.write(
        f"mcai-worker: no worker answered {about} within {waiting.seconds:g} s. Check the instance id or the queue, "
        "and that the worker runs.\n"
    )
    return 1


def job_message(kind: str, job_id: int, parameters: Sequence[str]) -> dict[str, Any]:
    """A direct message about one job, with its parameters."""
    return {"type": kind, "job_id": job_id, "parameters": order_parameters(read_values(parameters, {}))}
