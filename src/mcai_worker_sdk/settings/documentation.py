"""The tables of the documentation, written from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcai_worker_sdk.settings.tables import Table, tables
from mcai_worker_sdk.settings.words import allowed_words, default_words, variables_of

__all__ = ["EnvironmentTable", "EnvironmentVariable", "environment_tables"]


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """One row of the documentation's tables."""

    variable: str
    """Its name."""
    description: str
    """What it is for, as one or two sentences."""
    default: str
    """The default in words; empty where being unset means "off" or "none"."""
    allowed: str
    """What may be written there, in words."""


@dataclass(frozen=True, slots=True)
class EnvironmentTable:
    """One table of the documentation."""

    title: str
    """Its heading."""
    rows: tuple[EnvironmentVariable, ...]
    """Its variables, in the order of the fields."""


#: What follows a credential store's name, as the order writes it, and what it is for.
_STORE_VARIABLES = {
    "hostname": "URL of the store named STORE; every store but env, vault and BACKEND needs it.",
    "username": "User name at that store.",
    "password": "Password at that store.",
    "token": "Token, where the store is Vault.",
}


def environment_tables() -> list[EnvironmentTable]:
    """Every variable there is, in the tables of the documentation."""
    of_settings = [EnvironmentTable(model.title, tuple(_rows(model))) for model in tables()]
    of_stores = [
        EnvironmentVariable(f"{{STORE}}_{key.upper()}", description, "", "any text")
        for key, description in _STORE_VARIABLES.items()
    ]
    return [*of_settings, EnvironmentTable("Credential stores", tuple(of_stores))]


def _rows(model: type[Table]) -> Iterator[EnvironmentVariable]:
    for field in model.model_fields.values():
        first, *others = variables_of(field) or [""]
        if first:
            yield EnvironmentVariable(first, field.description or "", default_words(field), allowed_words(field))
        for other in others:
            yield EnvironmentVariable(other, f"Read when {first} is unset.", "", allowed_words(field))
