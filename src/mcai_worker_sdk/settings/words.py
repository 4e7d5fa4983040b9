"""What a field of a table says of itself: its variables, its values and its default in words."""

from __future__ import annotations

import re

from pydantic import (
    AliasChoices,
    SecretStr,
)
from pydantic.fields import FieldInfo

from mcai_worker_sdk.settings.kinds import Allowed

__all__ = ["allowed_words", "default_words", "problem", "variables_of", "without_user"]


def variables_of(field: FieldInfo) -> list[str]:
    """The variables a field is read from, the one that wins first; none for a nested table."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def allowed_words(field: FieldInfo) -> str:
    """What a field takes."""
    return next(item.words for item in field.metadata if isinstance(item, Allowed))


def default_words(field: FieldInfo) -> str:
    """The default of a field; empty where being unset means "off" or "none"."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["shown"] is not None:
        return str(extra["shown"])
    text = "" if field.default is None else str(field.default)
    return text.lower() if isinstance(field.default, bool) else text


def problem(variable: str, field: FieldInfo, value: str) -> str:
    """What is wrong with a variable, in one sentence with its remedy; never a secret's value."""
    default = default_words(field)
    remedy = f"unset it for the default, {default}" if default else "unset it"
    shown = "not usable" if field.annotation is SecretStr else repr(without_user(value[:200]))
    return f"The environment variable {variable} is {shown}; expected {allowed_words(field)}. Correct it, or {remedy}."


def without_user(text: str) -> str:
    """The text with what may be a user name and password before an ``@`` taken out."""
    return re.sub(r"(\w+://)?\S*@", r"\1***@", text)
