"""The parameters of a worker: a plain annotated class, checked and filled anew for each job."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import enum
import json
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pydantic_core
from pydantic import AliasChoices, BaseModel, JsonValue, RootModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.parameters.annotations import remember_local_names
from mcai_worker_sdk.parameters.conformance import read_rule
from mcai_worker_sdk.parameters.declarations import warnings_of
from mcai_worker_sdk.parameters.faults import ABSENT_OR_UNKNOWN, Fault, Faults, Path, value_at
from mcai_worker_sdk.parameters.fields import Fields, read_fields, unusable
from mcai_worker_sdk.parameters.generator import allows_conversion
from mcai_worker_sdk.parameters.schema import Schema, make_schema, published

__all__ = ["ParametersModel", "WorkerParameters"]

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
        self.__dict__.update(_model_of(type(self)).build_by_names(values).__dict__)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        remember_local_names(cls, sys._getframe(1))

    def __repr__(self) -> str:
        secret_ids: frozenset[str] = getattr(self, "_sdk_secret_ids", frozenset())
        unshown = _model_of(type(self)).unshown
        shown = (
            f"{name}={'***' if name in secret_ids else repr(value)}"
            for name, value in self.__dict__.items()
            if name not in unshown
        )
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
        self._strict = None if allows_conversion(core) else True
        schema, self._automatic_ids = _make_schema(parameters_class, core, fields)
        self.json_schema: dict[str, Any] = published(schema)
        """The published JSON Schema: draft 2020-12, sorted ``required``, no additional properties."""
        self._rule = read_rule(schema)
        self._ids = frozenset(self.json_schema["properties"])
        self._required_ids = frozenset(self.json_schema.get("required", ()))
        self.unshown = fields.unshown
        """Fields that a ``repr`` leaves out (``Field(repr=False)``)."""
        self.warnings = warnings_of(parameters_class, fields.annotations)
        """What the class may not mean as it is written; a sentence each, for the log."""

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
        known, problems = self._sort_out(values, ignored_ids)
        automatic = {id_: value for id_, value in known.items() if id_ in self._automatic_ids}
        declared = {id_: value for id_, value in known.items() if id_ not in automatic}
        validated = failure = None
        try:
            validated, found = self._validate(declared)
            problems += found
        except Exception as error:  # noqa: BLE001 - a validator of the author may raise anything
            failure = error
        problems += self._misfits(known, problems)
        if problems:
            words = Faults(self.json_schema, values, secret_ids)
            raise ParameterError(" ".join([*words.describe(problems), _REMEDY]))
        if failure is not None:
            words = Faults(self.json_schema, values, secret_ids)
            text = words.mask(f"{type(failure).__name__}: {failure}")
            raise ParameterError(f"The parameters are refused: a validator raised {text}. {_REMEDY}") from (
                None if words.has_secrets else failure
            )
        return self._finish(validated, automatic, secret_ids)

    def build_by_names(self, values: Mapping[str, Any]) -> Any:
        """
        Make the parameters from Python values, by the names of the class's fields.

        Raises:
            ParameterError: As :meth:`build`.
        """
        id_of = self._fields.id_of
        return self.build({id_of.get(name, name): _as_json(value) for name, value in values.items()})

    def _sort_out(
        self, values: Mapping[str, JsonValue], ignored_ids: frozenset[str]
    ) -> tuple[dict[str, JsonValue], list[Fault]]:
        """The values that count, as the schema means them, and the faults that pydantic does not see."""
        known: dict[str, Any] = {}
        faults: list[Fault] = []
        for id_, value in values.items():
            if id_ in self._ids or self._fields.unknown_ids == "keep":
                if value is not None or id_ in self._required_ids:
                    known[id_] = value
            elif id_ not in ignored_ids and self._fields.unknown_ids == "refuse":
                faults.append(_fault("extra_forbidden", (id_,), value))
        with contextlib.suppress(RecursionError):  # Too deep for JSON text as well, which is where it is named.
            known = self._rule.plain_members(known)
        return known, faults

    def _misfits(self, values: dict[str, JsonValue], known: list[Fault]) -> list[Fault]:
        """What the schema refuses, beside what pydantic named already."""
        places = {tuple(fault["loc"]): fault["type"] for fault in known}
        if () in places or "json_invalid" in places.values():
            return []
        return [
            _fault("schema", path, value_at(values, path))
            for path in self._rule.misfits(values, ())
            if not any(_is_within(path, place) or _is_within(place, path) for place in places.keys() - {path})
            and places.get(path) not in ABSENT_OR_UNKNOWN
        ]

    def _validate(self, values: dict[str, JsonValue]) -> tuple[Any, list[Fault]]:
        try:
            text = self._as_text(dict.fromkeys(self._fields.nullable_ids) | values)
        except (TypeError, ValueError, RecursionError):
            return None, _unreadable(values)
        try:
            return self._validator.validate_json(text, strict=self._strict), []
        except ValidationError as error:
            faults = self._faults_of(error)
        return None, (_unreadable(values) or faults) if faults[0]["type"] == "json_invalid" else faults

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


def _make_schema(parameters_class: type, core: Any, fields: Fields) -> tuple[Schema, frozenset[str]]:
    try:
        schema, automatic_ids = make_schema(
            core,
            wrapped=fields.wrapped,
            nullable_ids=fields.nullable_ids,
            takes_any_id=fields.unknown_ids != "refuse",
        )
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, TypeError, ValueError) as error:
        raise unusable(parameters_class.__name__, fields.annotations, error) from error
    return schema, automatic_ids


def _fault(kind: str, path: Path, value: object, message: str = "") -> Fault:
    return {"type": kind, "loc": path, "input": value, "msg": message}


def _is_within(path: Path, place: Path) -> bool:
    return path[: len(place)] == place


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
    if isinstance(value, RootModel):
        return _as_json(value.root)
    if isinstance(value, BaseModel):
        return {_key_of(name, info): _as_json(getattr(value, name)) for name, info in type(value).model_fields.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {_as_key(key): _as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [_as_json(part) for part in value]
    try:
        return pydantic_core.to_jsonable_python(value)
    except (pydantic_core.PydanticSerializationError, ValueError):
        return value


def _as_key(key: Any) -> Any:
    """A key as JSON has it: text."""
    plain = _as_json(key)
    return json.dumps(plain) if isinstance(plain, bool | int | float) else plain


def _key_of(name: str, info: FieldInfo) -> str:
    """The key under which a model takes a field."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else name
