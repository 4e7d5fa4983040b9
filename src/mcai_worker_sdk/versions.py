"""
Whether the installed dependencies are of versions that this SDK runs on, by the ranges in its own metadata.

pip keeps to those ranges where it installs the SDK, and warns only where it installs something else afterwards.
Reading them by packaging's own requirements would cost a start 10 ms more: the few forms that pyproject.toml uses are
read here, and a test holds this reading to packaging's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib import metadata

from packaging.version import InvalidVersion, Version

from mcai_worker_sdk.errors import UnsupportedVersionError

__all__ = ["check_versions"]

_DISTRIBUTION = "mcai-worker-sdk"
#: One ``Requires-Dist``: ``pika<1.5,>=1.3.2`` or ``av>=15; extra == 'media'``.
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+) *(?P<range>[^;]*?) *(?:; *extra == ['\"](?P<extra>[\w-]+)['\"] *)?")


@functools.cache
def check_versions(extra: str | None = None) -> None:
    """
    Check the dependencies of the core, or those of one extra, once. What is not installed is passed over.

    Args:
        extra: Name of the extra; ``None`` for the core.

    Raises:
        UnsupportedVersionError: At least one is out of its range; names each, its version, its range and the remedy.
    """
    found: list[tuple[str, str, str]] = []
    for name, wanted in _requirements(extra):
        version = _installed(name)
        if version is not None and not all(_fits(version, part.strip()) for part in wanted.split(",") if part):
            found.append((name, str(version), wanted))
    if found:
        raise UnsupportedVersionError(found)


def _requirements(extra: str | None) -> Iterator[tuple[str, str]]:
    """Name and range of each dependency; none where the SDK runs from a source tree that is not installed."""
    for line in re.findall(r"^Requires-Dist: (.*)$", _headers(_DISTRIBUTION), re.MULTILINE):
        requirement = _REQUIREMENT.fullmatch(line.strip())
        if requirement is not None and requirement["extra"] == extra:
            # The lower bound first: packages' metadata are sorted the other way.
            yield requirement["name"], ",".join(sorted(requirement["range"].split(","), reverse=True))


def _installed(name: str) -> Version | None:
    """The version of a distribution; ``None`` where there is none, or none that can be compared."""
    found = re.search(r"^Version: (.*)$", _headers(name), re.MULTILINE)
    try:
        return None if found is None else Version(found[1])
    except InvalidVersion:
        return None


def _headers(name: str) -> str:
    """The metadata of a distribution without its long description, as text: importlib's parser takes twice as long."""
    try:
        distribution = metadata.distribution(name)
        # A directory of the form of today, one of the old form, and the old form's single file.
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or distribution.read_text("")
        return (text or "").partition("\n\n")[0]
    except (metadata.PackageNotFoundError, OSError, UnicodeDecodeError):
        return ""


def _fits(version: Version, specifier: str) -> bool:
    """One part of a range, as PEP 440 has it: what comes before a release (19.0rc1) is not below that release."""
    bound = Version(specifier.lstrip("<>= "))
    if specifier.startswith("<"):
        return version < bound and Version(version.base_version) != bound
    return version >= bound
