"""What a parameters class declares that is no parameter: refused by its name, or warned of where it may be meant."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo, ModelPrivateAttr

from mcai_worker_sdk.errors import WorkerDefinitionError
from mcai_worker_sdk.parameters.annotations import own_annotations

__all__ = ["check_declarations", "check_fields", "warnings_of"]

#: What other kinds of class read, and a plain one does not: attribute, and what to do instead.
_READ_ELSEWHERE: Final = {
    "Config": "Write model_config = pydantic.ConfigDict(...).",
    "__pydantic_config__": "Write model_config = pydantic.ConfigDict(...).",
    "model_post_init": "Write __post_init__(self), or a method with @pydantic.model_validator(mode='after').",
}


def check_declarations(parameters_class: type) -> None:
    """
    Refuse what would be ignored, whatever kind of class it is.

    Raises:
        WorkerDefinitionError: Names the class, the attribute and the remedy.
    """
    name = parameters_class.__name__
    if hasattr(parameters_class, "__attrs_attrs__"):
        raise WorkerDefinitionError(
            f"The parameters class {name} is a class of attrs; expected an annotated class, a pydantic model or a "
            "dataclass. Derive it from WorkerParameters, and take the decorator of attrs away."
        )
    if issubclass(parameters_class, BaseModel):
        return
    if dataclasses.is_dataclass(parameters_class):
        if "model_config" not in own_annotations(parameters_class) and hasattr(parameters_class, "model_config"):
            raise _unread(name, "model_config", "Write __pydantic_config__ = pydantic.ConfigDict(...).")
        return
    for attribute, remedy in _READ_ELSEWHERE.items():
        if _is_there(parameters_class, attribute):
            raise _unread(name, attribute, remedy)


def check_fields(parameters_class: type, annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """
    Refuse fields of a plain class whose declaration would be ignored, or half of it.

    Args:
        parameters_class: The class.
        annotations: The resolved annotation of each field.
        defaults: What the class and its bases assign, by name; fields and others.

    Raises:
        WorkerDefinitionError: Names the class, the field and the remedy.
    """
    name = parameters_class.__name__
    for field, annotation in annotations.items():
        fault = _fault_of_annotation(annotation) or _fault_of_default(defaults.get(field))
        if fault:
            raise WorkerDefinitionError(f"Parameter {field!r} of class {name} {fault}")
    for attribute, value in defaults.items():
        if attribute not in annotations and isinstance(value, FieldInfo | dataclasses.Field):
            raise WorkerDefinitionError(
                f"Parameter {attribute!r} of class {name} has no annotation; expected its type. "
                f"Write {attribute}: ... = Field(...)."
            )


def warnings_of(parameters_class: type, annotations: Mapping[str, Any]) -> tuple[str, ...]:
    """
    What a parameters class may not mean as it is written; a sentence each.

    Args:
        parameters_class: The class.
        annotations: The annotation of each of its parameters.
    """
    name = parameters_class.__name__
    if issubclass(parameters_class, BaseModel):
        if parameters_class.model_config.get("extra") != "ignore":
            return ()
        text = (
            f"The model_config of class {name} says extra='ignore'; an order with an unknown parameter is refused all "
            "the same. Say extra='allow' to take it."
        )
        return (text,)
    found = dict.fromkeys(
        attribute for attribute in _plain_attributes(parameters_class) if attribute not in annotations
    )
    return tuple(
        f"The parameters class {name} has the attribute {attribute} without an annotation: it is no parameter. "
        f"Annotate it if it shall be one, with ClassVar if not."
        for attribute in found
    )


def _unread(class_name: str, attribute: str, remedy: str) -> WorkerDefinitionError:
    return WorkerDefinitionError(
        f"The parameters class {class_name} has {attribute}, which is not read in this kind of class. {remedy}"
    )


def _is_there(parameters_class: type, attribute: str) -> bool:
    if not hasattr(parameters_class, attribute) or attribute in own_annotations(parameters_class):
        return False
    value = getattr(parameters_class, attribute)
    # A type of a field may be called Config as well: only a bare class is pydantic's old form.
    return attribute != "Config" or (
        isinstance(value, type) and value.__bases__ == (object,) and not _has_fields(value)
    )


def _has_fields(value: type) -> bool:
    return bool(own_annotations(value)) or dataclasses.is_dataclass(value)


def _fault_of_annotation(annotation: Any) -> str | None:
    if isinstance(annotation, dataclasses.InitVar):
        return "is an InitVar; expected a field that the job can read. Annotate it with the type itself."
    if isinstance(annotation, typing.TypeVar) or getattr(annotation, "__parameters__", None):
        return (
            f"has the type {annotation!r}, which holds a type variable; expected a type. "
            "Write the type itself, or make the class a generic pydantic model."
        )
    metadata = [part for part in getattr(annotation, "__metadata__", ()) if isinstance(part, FieldInfo)]
    return next(filter(None, map(_fault_of_default, metadata)), None)


def _fault_of_default(default: Any) -> str | None:
    if isinstance(default, ModelPrivateAttr):
        return "is a PrivateAttr, which is for pydantic models. Make it a ClassVar, a property, or a field."
    if isinstance(default, FieldInfo) and default.frozen:
        return "is frozen, which is for pydantic models and dataclasses. Take frozen away, or make the class one."
    if isinstance(default, FieldInfo) and default.init_var:
        return "has init_var; expected a field that the job can read. Take init_var away."
    if type(default).__module__.partition(".")[0] in ("attr", "attrs"):
        return "has a field of attrs as its default; expected a value, or pydantic's Field(...)."
    return None


def _plain_attributes(parameters_class: type) -> Iterator[str]:
    """Attributes that look like a parameter's default: no method, no constant, nothing private."""
    for owner in reversed(parameters_class.__mro__):
        if owner.__module__ in ("builtins", "typing", "mcai_worker_sdk.parameters.model"):
            continue
        annotated = own_annotations(owner)
        for attribute, value in owner.__dict__.items():
            is_code = callable(value) or hasattr(type(value), "__get__") or hasattr(value, "decorator_info")
            is_named_so = attribute.startswith("_") or attribute.isupper() or attribute == "model_config"
            if (
                attribute not in annotated
                and not is_code
                and not is_named_so
                and not isinstance(value, types.ModuleType)
            ):
                yield attribute
