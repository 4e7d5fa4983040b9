"""The kinds of value that a variable may have: how each is read, and how it is said in words."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

__all__ = [
    "RUST_LEVELS",
    "Allowed",
    "Certificates",
    "Count",
    "DeliveryMode",
    "Device",
    "Host",
    "Isolation",
    "Level",
    "Limit",
    "OnError",
    "Paths",
    "Proxy",
    "Queues",
    "Seconds",
    "Secret",
    "Switch",
    "Text",
    "TimeLimit",
    "UpTo65535",
    "Url",
]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a field takes, in words: for the documentation and for :class:`SettingsError`."""

    words: str


_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
#: ``trace`` is a level of the Rust core's logger only; Python's nearest is DEBUG.
RUST_LEVELS = {"TRACE": logging.DEBUG, **_LEVELS}
_CERTIFICATE = "-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----"


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _level(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.strip().upper() not in _LEVELS:
        raise ValueError("not a level")
    return _LEVELS[value.strip().upper()]


def _pem_file(path: Path | None) -> Path | None:
    try:
        if path is None or re.search(_CERTIFICATE, path.read_text(encoding="ascii", errors="replace")):
            return path
    except OSError as error:
        raise ValueError("not a readable file") from error
    raise ValueError("no certificate in it")


def _paths(value: object) -> object:
    if not isinstance(value, str):
        return value
    paths = [part for part in value.split(os.pathsep) if part]
    if not paths:
        raise ValueError("no path")
    return paths


Text = Annotated[str, Allowed("any text")]
Secret = Annotated[SecretStr, Allowed("any text")]
Switch = Annotated[bool, BeforeValidator(_lower), Allowed("true or false (also 1/0, yes/no, on/off, in any case)")]
Host = Annotated[str, Field(pattern=r"^[^\s/@]+$"), Allowed("a host name or an IP address, without scheme or port")]
Url = Annotated[str, Field(pattern=r"^(?i:https?)://\S+$"), Allowed("a URL that begins with http:// or https://")]
UpTo65535 = Annotated[int, Field(ge=1, le=65535), Allowed("a whole number from 1 to 65535")]
Count = Annotated[int, Field(ge=0), Allowed("a whole number, at least 0")]
Limit = Annotated[int | None, Field(ge=1), Allowed("a whole number, at least 1")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), Allowed("a number of seconds, at least 0")]
TimeLimit = Annotated[float | None, Field(gt=0, allow_inf_nan=False), Allowed("a number of seconds above 0")]
Certificates = Annotated[Path | None, AfterValidator(_pem_file), Allowed("the path of a PEM file with certificates")]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths), Allowed(f"paths of files, joined with {os.pathsep!r}")]
DeliveryMode = Annotated[Literal[1, 2], BeforeValidator(int), Allowed("1 or 2")]
Queues = Annotated[Literal["standalone", "cluster"], BeforeValidator(_lower), Allowed("standalone or cluster")]
Isolation = Annotated[Literal["process", "thread"], BeforeValidator(_lower), Allowed("process or thread")]
OnError = Annotated[Literal["fail", "skip"], BeforeValidator(_lower), Allowed("fail or skip")]
Device = Annotated[str | None, BeforeValidator(_lower), Allowed("a device of FFmpeg, such as cuda")]
Proxy = Annotated[str | None, Allowed("http:// or https://, [USER:PASSWORD@]HOST[:PORT]")]
Level = Annotated[int, BeforeValidator(_level), Allowed("DEBUG, INFO, WARN, WARNING, ERROR or CRITICAL, in any case")]
