"""Orders as StepFlow writes them, from what a test says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core

from mcai_worker_sdk.exchange.local import read_source_order

__all__ = ["Credential", "job_order", "order_body", "order_parameters"]

#: StepFlow's word for a value, by the type that JSON gives it. A worker looks at it for credentials alone.
_TYPE_WORDS: dict[type, str] = {
    bool: "boolean",
    dict: "object",
    float: "float",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "string",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """The value of a parameter that is kept in a credential store."""

    store: str
    """Name of the store: ``env``, ``vault``, ``BACKEND`` or the prefix of one's own variables."""
    key: str
    """Under which the store has it."""
    type: str = "string"
    """StepFlow's type word: a text of the store is read as JSON where this asks for something else than text."""


def job_order(job_id: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The order to run a job, as a JSON object."""
    return {"job_id": job_id, "parameters": order_parameters(parameters)}


def order_parameters(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    The parameters of an order.

    Args:
        parameters: Values by id: anything that has a form in JSON (paths, dates, enums, sets), or :class:`Credential`.
    """
    return [_order_parameter(name, value) for name, value in parameters.items()]


def _order_parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Credential):
        return {"id": name, "type": value.type, "store": value.store, "value": value.key}
    plain = pydantic_core.to_jsonable_python(value)
    word = "requirements" if name == "requirements" else _TYPE_WORDS[type(plain)]
    return {"id": name, "type": word, "value": plain}


def order_body(order: Mapping[str, Any] | Path | str | bytes) -> bytes:
    """
    The bytes of an order.

    Args:
        order: A JSON object, the path of a file that holds one, or the bytes themselves.

    Raises:
        ExchangeError: The file cannot be read.
    """
    if isinstance(order, bytes):
        return order
    if isinstance(order, str | Path):
        return read_source_order(Path(order)).body
    return json.dumps(order).encode()
