"""The parameters of a worker: a plain annotated class, checked and filled anew for each job."""

from __future__ import annotations

import base64
import copy
import dataclasses
import enum
import json
import re
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pydantic_core
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.errors import PydanticUserError

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.parameters.annotations import remember_local_names
from mcai_worker_sdk.parameters.faults import Fault, Faults, integral_floats
from mcai_worker_sdk.parameters.fields import Fields, read_fields, unusable
from mcai_worker_sdk.parameters.schema import AUTOMATIC_PROPERTIES, Schema, make_schema

__all__ = ["ParametersModel", "WorkerParameters"]

#: Texts pydantic would read as seconds since 1970, although the schema promises ISO 8601.
_ONLY_A_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*")
_TEMPORAL_FORMATS = frozenset({"date-time", "date", "time", "duration"})

#: Models of the classes that were made with keyword arguments.
_MODELS: dict[type, ParametersModel] = {}

_REMEDY = "Correct the order."


class WorkerParameters:
    """
    Base of a worker's parameters: annotate the fields, and each job gets an object of your class with their values.

    ::

        class MyParameters(mcai.WorkerParameters):
            source_path: str
            threshold: float = 0.5
            label: str | None = None
            mode: Literal["fast", "exact"] = Field("fast", description="How to look.")

    A field is required unless it is ``Optional`` (``| None``) or has a default. Values have the JSON types of the
    annotations: nothing is converted (``"5"`` is not an ``int``), but an ``int`` may fill a ``float``, and text becomes
    ``datetime``, ``Path``, ``Enum`` or ``bytes`` (base64) where the annotation says so. What pydantic offers works as
    well: ``Field``, nested models, ``Literal``, unions, ``@field_validator``, ``@model_validator``.

    An order may always bring ``requirements`` (an object) and ``source_paths`` (a list of strings): StepFlow adds them.
    Undeclared, they are attributes of the object only when the order has them; a field of that name replaces them.

    In your own tests make one with keyword arguments, ``MyParameters(source_path="a.wav")``: they are checked as those
    of an order are.

    Raises:
        ParameterError: The keyword arguments do not fit; names every wrong field.
        WorkerDefinitionError: The class itself cannot be used; names the field.
    """

    # A slot, so that ``parameters.__dict__`` holds just the parameters.
    __slots__ = ("__dict__", "__weakref__", "_sdk_secret_ids")

    def __init__(self, /, **values: Any) -> None:
        built: WorkerParameters = _model_of(type(self)).build({id_: _as_json(value) for id_, value in values.items()})
        self.__dict__.update(built.__dict__)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        remember_local_names(cls, sys._getframe(1))

    def __repr__(self) -> str:
        secret_ids: frozenset[str] = getattr(self, "_sdk_secret_ids", frozenset())
        shown = (f"{name}={'***' if name in secret_ids else repr(value)}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WorkerParameters) or type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # fields can be assigned, so equality can change


class ParametersModel:
    """
    What the SDK knows of a parameters class: its published schema, and how to make one object per job.

    Args:
        parameters_class: A :class:`WorkerParameters`, any other annotated class, a pydantic model or a dataclass.

    Raises:
        WorkerDefinitionError: It is none of these, or one of its fields cannot be a parameter; names the field.
    """

    def __init__(self, parameters_class: type) -> None:
        self._fields = fields = read_fields(parameters_class)
        self._class = parameters_class
        core = fields.hidden_class.__pydantic_core_schema__
        self._validator = fields.hidden_class.__pydantic_validator__
        # Nested models are read as strictly as the rest, unless an author allowed conversions somewhere.
        self._strict = None if _allows_conversion(core) else True
        self.json_schema: dict[str, Any] = _publish(parameters_class, core, fields)
        """The published JSON Schema: draft 2020-12, sorted ``required``, no additional properties."""
        self._required_ids = frozenset(self.json_schema.get("required", ()))
        self._automatic_ids = frozenset(AUTOMATIC_PROPERTIES) - fields.ids
        properties = self.json_schema["properties"]
        self._temporal_ids = frozenset(
            id_ for id_ in fields.ids if properties.get(id_, {}).get("format") in _TEMPORAL_FORMATS
        )

    def build(
        self,
        values: Mapping[str, JsonValue],
        *,
        secret_ids: frozenset[str] = frozenset(),
        ignored_ids: frozenset[str] = frozenset(),
    ) -> Any:
        """
        Make the parameters of one job.

        Args:
            values: What the order brought, by id. ``null`` counts as absent where the field may be absent.
            secret_ids: Ids whose values came from a credential store: no message and no ``repr`` shows them.
            ignored_ids: Ids that may be there without being declared; they are dropped then.

        Returns:
            A new object of the author's class. It shares nothing with ``values`` nor with other jobs' objects.

        Raises:
            ParameterError: The values do not fit; one message names every wrong field.
        """
        known, automatic, problems = self._sort_out(values, ignored_ids)
        try:
            validated, found = self._validate(known)
        except Exception as error:  # noqa: BLE001 - a validator of the author may raise anything
            words = Faults(self.json_schema, values, secret_ids)
            text = words.mask(f"{type(error).__name__}: {error}")
            raise ParameterError(f"The parameters are refused: a validator raised {text}. {_REMEDY}") from (
                None if words.has_secrets else error
            )
        problems += found
        if problems:
            words = Faults(self.json_schema, values, secret_ids)
            raise ParameterError(" ".join([*words.describe(problems), _REMEDY]))
        return self._finish(validated, automatic, secret_ids)

    def _sort_out(
        self, values: Mapping[str, JsonValue], ignored_ids: frozenset[str]
    ) -> tuple[dict[str, JsonValue], dict[str, JsonValue], list[Fault]]:
        """The declared values, the automatic ones, and the faults that pydantic does not see."""
        fields = self._fields
        known: dict[str, JsonValue] = dict.fromkeys(fields.nullable_ids)
        automatic: dict[str, JsonValue] = {}
        faults: list[Fault] = []
        for id_, value in values.items():
            if id_ in fields.ids or (fields.takes_any_id and id_ not in self._automatic_ids):
                if value is not None or id_ in self._required_ids:
                    known[id_] = value
                if id_ in self._temporal_ids and isinstance(value, str) and _ONLY_A_NUMBER.fullmatch(value):
                    faults.append(_fault("datetime_type", (id_,), value))
            elif id_ in self._automatic_ids:
                if value is not None:
                    automatic[id_] = value
            elif id_ not in ignored_ids:
                faults.append(_fault("extra_forbidden", (id_,), value))
        return known, automatic, faults + _automatic_faults(automatic)

    def _validate(self, values: dict[str, JsonValue]) -> tuple[Any, list[Fault]]:
        try:
            text = self._as_text(values)
        except (TypeError, ValueError, RecursionError):
            return None, _unreadable(values)
        try:
            return self._validator.validate_json(text, strict=self._strict), []
        except ValidationError as error:
            faults = self._faults_of(error)
        if faults[0]["type"] == "json_invalid":
            return None, _unreadable(values) or faults
        places = integral_floats(faults, values)
        if not places:
            return None, faults
        try:
            return self._validator.validate_json(self._as_text(_as_integers(values, places)), strict=self._strict), []
        except ValidationError as error:
            return None, self._faults_of(error)

    def _as_text(self, values: dict[str, JsonValue]) -> bytes:
        wrapped = self._fields.wrapped
        content = values if wrapped is None else {wrapped: values}
        return json.dumps(content, ensure_ascii=False).encode()

    def _faults_of(self, error: ValidationError) -> list[Fault]:
        skipped = 0 if self._fields.wrapped is None else 1
        return [{**fault, "loc": fault["loc"][skipped:]} for fault in error.errors(include_url=False)]

    def _finish(self, validated: Any, automatic: dict[str, JsonValue], secret_ids: frozenset[str]) -> Any:
        wrapped = self._fields.wrapped
        if wrapped is None:
            instance: Any = object.__new__(self._class)
            # In the order of declaration: pydantic sets the defaults first.
            instance.__dict__.update(dict.fromkeys(self._fields.annotations))
            instance.__dict__.update(validated.__dict__)
        else:
            instance = getattr(validated, wrapped)
        if automatic and not isinstance(instance, BaseModel) and hasattr(instance, "__dict__"):
            instance.__dict__.update(copy.deepcopy(automatic))
        if secret_ids and isinstance(instance, WorkerParameters):
            object.__setattr__(instance, "_sdk_secret_ids", secret_ids)
        return instance


def _publish(parameters_class: type, core: Any, fields: Fields) -> Schema:
    try:
        schema = make_schema(core, wrapped=fields.wrapped, nullable_ids=fields.nullable_ids)
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, TypeError, ValueError) as error:
        raise unusable(parameters_class.__name__, fields.annotations, error) from error
    return schema


def _allows_conversion(core: Any) -> bool:
    """True when ``strict=False`` is written somewhere in a core schema (``Field(strict=False)``, a model's config)."""
    if isinstance(core, dict):
        return core.get("strict") is False or any(_allows_conversion(part) for part in core.values())
    return isinstance(core, list | tuple) and any(_allows_conversion(part) for part in core)


def _fault(kind: str, path: tuple[str | int, ...], value: object, message: str = "") -> Fault:
    return {"type": kind, "loc": path, "input": value, "msg": message}


def _automatic_faults(automatic: Mapping[str, JsonValue]) -> list[Fault]:
    faults: list[Fault] = []
    requirements = automatic.get("requirements", {})
    if not isinstance(requirements, dict):
        faults.append(_fault("dict_type", ("requirements",), requirements))
    paths = automatic.get("source_paths", [])
    if not isinstance(paths, list):
        return [*faults, _fault("list_type", ("source_paths",), paths)]
    wrong = ((index, path) for index, path in enumerate(paths) if not isinstance(path, str))
    return faults + [_fault("string_type", ("source_paths", index), path) for index, path in wrong]


def _unreadable(values: Mapping[str, JsonValue]) -> list[Fault]:
    """Which values cannot be written as JSON text and read again, and why (a lone surrogate, too deep, no JSON)."""
    faults: list[Fault] = []
    for id_, value in values.items():
        try:
            # One level deeper than the value, as it lies in the order.
            pydantic_core.from_json(json.dumps([[value]], ensure_ascii=False).encode())
        except UnicodeEncodeError:
            faults.append(_fault("json_invalid", (id_,), value, "it holds a lone surrogate, which is not text"))
        except (TypeError, ValueError, RecursionError) as error:
            faults.append(_fault("json_invalid", (id_,), value, str(error)))
    return faults


def _as_integers(values: dict[str, JsonValue], places: list[tuple[str | int, ...]]) -> dict[str, JsonValue]:
    values = copy.deepcopy(values)
    for *containers, last in places:
        target: Any = values
        for step in containers:
            target = target[step]
        target[last] = int(target[last])
    return values


def _model_of(parameters_class: type) -> ParametersModel:
    model = _MODELS.get(parameters_class)
    if model is None:
        model = _MODELS[parameters_class] = ParametersModel(parameters_class)
    return model


def _as_json(value: Any) -> Any:
    """A Python value as an order would bring it; what has no such form is left for the check to refuse."""
    if isinstance(value, enum.Enum):
        return _as_json(value.value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "get_secret_value"):
        return _as_json(value.get_secret_value())
    if isinstance(value, BaseModel):
        return {info.alias or name: _as_json(getattr(value, name)) for name, info in type(value).model_fields.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_as_json(key): _as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [_as_json(part) for part in value]
    try:
        return pydantic_core.to_jsonable_python(value)
    except (pydantic_core.PydanticSerializationError, ValueError):
        return value
