"""The commands that need no broker: run, check, order, describe, schema."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mcai_worker_sdk.cli.values import AUTOMATIC, example_of, example_values, read_values
from mcai_worker_sdk.errors import ExchangeError, ParameterError, ProtocolError
from mcai_worker_sdk.exchange.local import read_source_order
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.job.runner import MEDIA_PARAMETER_IDS
from mcai_worker_sdk.protocol.orders import OrderParameter, parse_order, required_paths
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.identity import utc_now, worker_identity
from mcai_worker_sdk.supervisor.presentation import OrderPresentation, make_presentation
from mcai_worker_sdk.supervisor.start import run_orders
from mcai_worker_sdk.target import load_worker
from mcai_worker_sdk.testing.orders import job_order
from mcai_worker_sdk.worker import definition_of

__all__ = [
    "LocalRun",
    "check_orders",
    "print_description",
    "print_example",
    "print_schema",
    "print_text",
    "read_object",
]

#: What a media job cannot do without, whatever its parameters class declares.
_MEDIA_PATHS = ("source_path", "destination_path")


class LocalRun:
    """
    Orders to run here.

    Args:
        target: The worker.
        orders: Order files.
        parameters: ``name=value`` each, for one more order.
        parameter_file: A JSON object with parameters of that order.
        job_id: The job of that order.
    """

    def __init__(
        self, target: str, orders: Sequence[Path], parameters: Sequence[str], parameter_file: Path | None, job_id: int
    ) -> None:
        self._target = target
        self._orders = orders
        self._parameters = parameters
        self._parameter_file = parameter_file
        self._job_id = job_id

    def run(self, *, verbose: bool, as_json: bool) -> int:
        """
        Run them.

        Args:
            verbose: Log the responses as well.
            as_json: Print each result as one line of JSON.

        Returns:
            The exit code.

        Raises:
            ParameterError: A parameter cannot be read.
            WorkerDefinitionError: There is no such worker.
        """
        worker = definition_of(load_worker(self._target))
        with tempfile.TemporaryDirectory() as folder:
            orders = [*self._orders, *self._made_order(worker, Path(folder))]
            if not orders:
                raise ParameterError(
                    "There is no order to run; expected files with orders, or parameters (-p name=value). "
                    f"See what there is: mcai-worker describe {self._target}"
                )
            return run_orders(worker, orders, _presentation(as_json), level=logging.DEBUG if verbose else None)

    def _made_order(self, worker: WorkerDefinition, folder: Path) -> list[Path]:
        if not self._parameters and self._parameter_file is None and self._orders:
            return []
        values = {} if self._parameter_file is None else read_object(self._parameter_file)
        values |= read_values(self._parameters, worker.model.json_schema)
        if not values and worker.model.json_schema.get("required"):
            return []
        path = folder / "parameters"
        path.write_text(json.dumps(job_order(self._job_id, values)), encoding="utf-8")
        return [path]


def read_object(path: Path) -> dict[str, Any]:
    """
    Read a file that holds a JSON object.

    Raises:
        ParameterError: It cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(
            f"The parameter file {str(path)!r} cannot be read: {error.strerror}. Name another one."
        ) from None
    except ValueError as error:
        raise ParameterError(f"The parameter file {str(path)!r} is not JSON: {error}. Correct it.") from None
    if not isinstance(content, dict):
        raise ParameterError(
            f"The parameter file {str(path)!r} holds no JSON object; expected values by the parameters' names."
        )
    return content


def _presentation(as_json: bool) -> OrderPresentation:
    on_terminal = make_presentation(wanted=not as_json)
    return on_terminal if on_terminal.shows_responses else _Lines(as_json=as_json)


class _Lines:
    """One line for each order on the standard output, for a script or a log."""

    shows_responses = True

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._path = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, path: Path) -> None:
        """Remember which order it is."""
        self._path = path

    def progress(self, percent: int) -> None:
        """A line is for an end."""

    def frames(self, count: int) -> None:
        """A line is for an end."""

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """Write the line."""
        if self._as_json:
            ended = None if result is None else result.as_json(utc_now())
            print_text(json.dumps({"order": str(self._path), "result": ended, "failure": failure}, ensure_ascii=False))
        elif result is None:
            print_text(f"{self._path.name}: not run: {failure}")
        else:
            what = result.message or ", ".join(result.destination_paths)
            print_text(f"{self._path.name}: {result.state} in {result.execution_duration_seconds:.2f} s: {what}")

    def abandon(self) -> None:
        """Nothing was changed."""


def check_orders(target: str, orders: Sequence[Path], *, as_json: bool) -> int:
    """
    Check orders without running them.

    Returns:
        The exit code: 0 when each of them could be run.
    """
    worker = definition_of(load_worker(target))
    found = [{"order": str(path), "faults": _faults_of(worker, path)} for path in orders]
    if as_json:
        print_text(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for one in found:
            print_text("\n".join(f"{one['order']}: {fault}" for fault in one["faults"] or ["fits"]))
    return 1 if any(one["faults"] for one in found) else 0


def _faults_of(worker: WorkerDefinition, path: Path) -> list[str]:
    try:
        order = parse_order(read_source_order(path).body)
    except (ExchangeError, ProtocolError) as error:
        return [str(error)]
    parameters = getattr(order, "parameters", None)
    if parameters is None:
        return [f"The order's type is {order.type!r}; expected one with parameters, such as job."]
    latest = {parameter.id: parameter for parameter in parameters}
    return [*_wrong_values(worker, latest), *_missing_paths(parameters)]


def _wrong_values(worker: WorkerDefinition, parameters: Mapping[str, OrderParameter]) -> list[str]:
    schema = worker.model.json_schema
    known = schema["properties"]
    values = {
        # What a store holds is not known here: any value that fits stands for it.
        name: parameter.effective_value if parameter.store is None else example_of(known.get(name, {}), schema, name)
        for name, parameter in parameters.items()
        if parameter.store is not None or parameter.effective_value is not None
    }
    faults = []
    if worker.is_media:
        faults = [
            f"Parameter {name!r} is missing; expected a path or an address, which every media job needs."
            for name in _MEDIA_PATHS
            if name not in values and name not in schema.get("required", ())
        ]
    try:
        worker.model.build(values, ignored_ids=MEDIA_PARAMETER_IDS if worker.is_media else frozenset())
    except ParameterError as error:
        faults.append(str(error))
    return faults


def _missing_paths(parameters: Sequence[OrderParameter]) -> list[str]:
    try:
        paths = required_paths(parameters)
    except ParameterError as error:
        return [str(error)]
    return [
        f"The required path {path!r} does not exist here; expected it before the job may run. Create it."
        for path in paths
        if not Path(path).exists()
    ]


def print_example(target: str, job_id: int) -> None:
    """Print an example order."""
    worker = definition_of(load_worker(target))
    values = example_values(worker.model.json_schema)
    if worker.is_media:
        values = {name: example_of({"type": "string"}, {}, name) for name in _MEDIA_PATHS} | values
    print_text(json.dumps(job_order(job_id, values), indent=2, ensure_ascii=False))


def print_schema(target: str) -> None:
    """Print the parameters' JSON Schema."""
    print_text(json.dumps(definition_of(load_worker(target)).model.json_schema, indent=2, ensure_ascii=False))


def print_description(target: str, *, as_json: bool) -> None:
    """Print who the worker is."""
    worker = definition_of(load_worker(target))
    identity = worker_identity(Settings.load(), worker.description, worker.model.json_schema)
    if as_json:
        print_text(json.dumps(identity, indent=2, ensure_ascii=False))
        return
    print_text(f"{identity['name']} {identity['version']}")
    for key in ("description", "license"):
        if identity[key]:
            print_text(f"{key}: {identity[key]}")
    schema = worker.model.json_schema
    rows = [_row(name, rule, schema) for name, rule in schema["properties"].items() if rule != AUTOMATIC.get(name)]
    if not rows:
        print_text("parameters: none")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    print_text("parameters:")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print_text("  " + "  ".join([*cells, row[-1]]).rstrip())


def _row(name: str, rule: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    if name in schema.get("required", ()):
        need = "required"
    else:
        need = f"default {json.dumps(rule['default'], ensure_ascii=False)}" if "default" in rule else "optional"
    return [name, _kind_of(rule), need, str(rule.get("description", ""))]


def _kind_of(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in rule["enum"])
    branches = rule.get("oneOf") or rule.get("anyOf")
    if branches:
        return " | ".join(_kind_of(branch) for branch in branches)
    if rule.get("type") == "array" and isinstance(rule.get("items"), dict):
        return f"array of {_kind_of(rule['items'])}"
    return str(rule.get("type", "any"))


def print_text(text: str) -> None:
    """Print to the standard output. JSON is UTF-8, and a pipe of another encoding must not fail a command."""
    sys.stdout.buffer.write(f"{text}\n".encode(errors="backslashreplace"))
    sys.stdout.flush()
