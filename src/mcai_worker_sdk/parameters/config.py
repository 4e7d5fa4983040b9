"""``model_config`` of a parameters class: what of pydantic's configuration is taken over, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ConfigDict

from mcai_worker_sdk.errors import WorkerDefinitionError

__all__ = ["STRICT", "read_config"]

#: How the values of an order are read: JSON types are never converted into one another, unknown keys are refused.
STRICT: Final = ConfigDict(
    strict=True,
    extra="forbid",
    arbitrary_types_allowed=False,
    val_json_bytes="base64",
    ser_json_bytes="base64",
)

#: What decides how values are read and published. The rest is about pydantic's models: what their objects allow later,
#: and how they are written.
_TAKEN: Final = frozenset(
    {
        "alias_generator",
        "allow_inf_nan",
        "arbitrary_types_allowed",
        "extra",
        "json_schema_extra",
        "populate_by_name",
        "regex_engine",
        "str_strip_whitespace",
        "str_to_lower",
        "str_to_upper",
        "strict",
        "title",
        "use_enum_values",
        "val_json_bytes",
        "val_temporal_unit",
        "validate_by_alias",
        "validate_by_name",
        "validate_default",
    }
)


def read_config(parameters_class: type, fields: Mapping[str, Any]) -> ConfigDict:
    """
    The configuration with which the orders of a plain class are read.

    Args:
        parameters_class: A class that is neither a pydantic model nor a dataclass.
        fields: Its parameters, by name: one may be called ``model_config``.

    Raises:
        WorkerDefinitionError: The class configures what a plain class cannot keep; names it.
    """
    written = {} if "model_config" in fields else _written(parameters_class)
    for key, value in written.items():
        if value and (key not in _TAKEN or key not in ConfigDict.__annotations__):
            raise WorkerDefinitionError(
                f"The model_config of class {parameters_class.__name__} sets {key}; expected one of "
                f"{', '.join(sorted(_TAKEN))}. Take it out, or make the class a pydantic model or a dataclass."
            )
    taken = {key: value for key, value in written.items() if key in _TAKEN & ConfigDict.__annotations__.keys()}
    return ConfigDict(**{**STRICT, **taken})  # type: ignore[typeddict-item]  # the keys were verified above


def _written(parameters_class: type) -> dict[str, Any]:
    """What the class and its bases say; the nearest wins, key by key."""
    config: dict[str, Any] = {}
    for owner in reversed(parameters_class.__mro__):
        own = owner.__dict__.get("model_config", {})
        if not isinstance(own, Mapping):
            raise WorkerDefinitionError(
                f"The model_config of class {owner.__name__} is {own!r}; expected a pydantic.ConfigDict. "
                "Annotate it, if it is a parameter."
            )
        config |= own
    return config
