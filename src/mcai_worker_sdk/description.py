"""Who the worker is, for the orchestrator: its name, version, description and licence."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.version import InvalidVersion, Version

from mcai_worker_sdk.errors import DescriptionError

__all__ = ["WorkerDescription"]

_FILE_NAME = "pyproject.toml"
_LICENCE_CLASSIFIER = "License :: "
_VERSION_RULE = "a version by SemVer or PEP 440, such as 1.2.3"
#: What old build tools write where there is nothing to say.
_PLACEHOLDER = "UNKNOWN"
#: https://semver.org, version 2.0.0: three numbers, then a pre-release, then build metadata.
_SEMVER = re.compile(
    r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*))*)?"
    r"(\+[\da-zA-Z-]+(\.[\da-zA-Z-]+)*)?",
    re.ASCII,
)


class WorkerDescription:
    """
    The worker's name, version, description and licence; each may be read and set until the worker starts.

    ``WorkerDescription(__package__)`` serves a script, where ``__package__`` is ``None``, and an installed package.

    Example:
        >>> description = mcai.WorkerDescription(__package__)
        >>> description.version = "1.2.3"
    """

    def __init__(self, package_name: str | None = None, *, package: str | None = None) -> None:
        """
        Args:
            package_name: An installed distribution, or a package that one distribution brings: its metadata are read.
                Of a package that is not installed, or only as editable, ``pyproject.toml`` is read, from the folder
                that holds the package, or above it (``src``).
                ``None`` or empty, as in a script: the table ``[project]`` of ``pyproject.toml`` is read, from the
                current directory, else from the script's directory, else from the one above it.
            package: The same under the name it has in the reference.

        Raises:
            DescriptionError: There is no such package or file, or a key is missing or wrong; names it and the remedy.
        """
        if package_name is not None and package is not None:
            raise DescriptionError("WorkerDescription was given package_name and package; expected one of them.")
        chosen = package if package_name is None else package_name
        if chosen is not None and not isinstance(chosen, str):
            raise DescriptionError(f"The package name is {chosen!r}; expected a string or None. Pass __package__.")
        facts = _read_package(chosen) if chosen else _read_pyproject(_find_pyproject())
        self._name = facts.name
        self._version = facts.version
        self._description = facts.description
        self._license = facts.license

    def __repr__(self) -> str:
        return f"WorkerDescription(name={self._name!r}, version={self._version!r}, license={self._license!r})"

    @property
    def name(self) -> str:
        """Name of the worker, also its label."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = _filled(value, "The worker's name")

    @property
    def version(self) -> str:
        """Version of the worker, by SemVer or PEP 440; kept as written."""
        return self._version

    @version.setter
    def version(self, value: str) -> None:
        self._version = _version(value, "The worker's version")

    @property
    def description(self) -> str:
        """What the worker does, in a sentence; may be empty."""
        return self._description

    @description.setter
    def description(self, value: str) -> None:
        self._description = _text(value, "The worker's description")

    @property
    def license(self) -> str:
        """
        Licence of the worker: an SPDX expression, or any other text.

        Of a licence file, or a text of several lines, it is the first line that is not blank ("MIT License"): this goes
        out with each answer to ``status``. Empty where nothing names a licence.
        """
        return self._license

    @license.setter  # noqa: A003 - the reference's name for it
    def license(self, value: str) -> None:
        self._license = _text(value, "The worker's license")

    def warnings(self) -> list[str]:
        """What the worker should log at its start about itself."""
        if self._license:
            return []
        return [f"The worker {self._name} names no licence. Set license under [project] in {_FILE_NAME}."]


class _Facts(NamedTuple):
    """What one source says, verified."""

    name: str
    version: str
    description: str
    license: str


def _read_package(name: str) -> _Facts:
    """An installed distribution; its metadata by PEP 566, and by PEP 639 for the licence."""
    found = _installed(name)
    if found is None:
        path = _pyproject_of_package(name)
        if path is not None:
            return _read_pyproject(path)
        raise DescriptionError(
            f"The package name is {name!r}; expected an installed package. "
            f"{_how_to_install(_near_pyproject())}, or pass None to have its {_FILE_NAME} read."
        )
    place = f"of the installed package {name}"
    return _Facts(
        name=_filled(found.get("Name"), f"The field Name {place}"),
        version=_version(found.get("Version"), f"The field Version {place}"),
        description=_known(found.get("Summary")),
        license=_installed_licence(found),
    )


def _installed(name: str) -> Mapping[str, Any] | None:
    """The metadata of a distribution, or of the only one that brings an import package."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return _fields(metadata.metadata(name))
    distributions = set(metadata.packages_distributions().get(name.partition(".")[0], ()))
    return _fields(metadata.metadata(distributions.pop())) if len(distributions) == 1 else None


def _fields(message: metadata.PackageMetadata) -> dict[str, Any]:
    """A field that occurs several times is read with all its values; asking for an absent one raises nothing."""
    fields: dict[str, Any] = {key: message[key] for key in message}
    return {**fields, "Classifier": message.get_all("Classifier") or []}


def _installed_licence(fields: Mapping[str, Any]) -> str:
    expression = _known(fields.get("License-Expression"))
    return expression or _first_line(_known(fields.get("License"))) or _classified(fields["Classifier"])


def _read_pyproject(path: Path) -> _Facts:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DescriptionError(f"The file {path} cannot be read: {error.strerror}. Make it readable.") from error
    except ValueError as error:  # Not TOML, or not UTF-8.
        raise DescriptionError(f"The file {path} is not valid TOML: {error}. Correct it.") from error
    project = content.get("project")
    if not isinstance(project, dict):
        raise DescriptionError(
            f"The file {path} has no table [project]; expected one that describes the worker. "
            'Add [project] with at least name = "my_worker" and version = "1.2.3".'
        )
    name = _filled(project.get("name"), _key("name", path))
    built = _installed(name) if _list(project.get("dynamic")) else None
    return _Facts(
        name=name,
        version=_project_version(project, name, built, path),
        description=_project_description(project, built, path),
        license=_project_licence(project, built, path),
    )


def _find_pyproject() -> Path:
    """The file of the current directory, else beside the script, else above it (``python my_worker/worker.py``)."""
    path = _near_pyproject()
    if path is not None:
        return path
    looked = ", ".join(map(str, _near_places()))
    raise DescriptionError(
        f"There is no {_FILE_NAME} in {looked}; expected one that describes the worker. "
        "Create it, start the worker from its directory, or pass the name of the installed package."
    )


def _near_pyproject() -> Path | None:
    return _first_pyproject(_near_places())


def _near_places() -> list[Path]:
    places: list[Path] = []
    with contextlib.suppress(OSError):  # The current directory may have been removed.
        places.append(Path.cwd())
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script:
        places.extend(Path(script).resolve().parents[:2])
    return list(dict.fromkeys(places))


def _pyproject_of_package(name: str) -> Path | None:
    """The file of the project in which an importable package lies: beside the package, or beside ``src``."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):  # What is no package's name.
        return None
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    return _first_pyproject(place for folder in folders for place in Path(folder).resolve().parents[:2])


def _first_pyproject(places: Iterable[Path]) -> Path | None:
    return next((place / _FILE_NAME for place in places if (place / _FILE_NAME).is_file()), None)


def _how_to_install(path: Path | None) -> str:
    """Advice that works with the project as it is: pip needs to be told how to build it."""
    install = "nstall the worker (pip install -e .)"
    build: Any = {}
    with contextlib.suppress(OSError, ValueError):
        build = tomllib.loads(path.read_text(encoding="utf-8")).get("build-system", {}) if path else {}
    requires = _list(build.get("requires")) if isinstance(build, dict) else []
    is_built = "build-backend" in build or not requires or any("setuptools" in str(part) for part in requires)
    return (
        f"I{install}"
        if is_built
        else (
            f'In {path}, write requires = ["hatchling"] and build-backend = "hatchling.build" in [build-system], and '
            f"i{install}"
        )
    )


def _project_version(project: dict[str, Any], name: str, built: Mapping[str, Any] | None, path: Path) -> str:
    if "version" in project:
        return _version(project["version"], _key("version", path))
    if "version" not in _list(project.get("dynamic")):
        raise DescriptionError(f'{_key("version", path)} is missing; expected {_VERSION_RULE}. Add version = "1.2.3".')
    if built is None:
        raise DescriptionError(
            f"{_key('version', path)} is dynamic, and no package named {name} is installed; expected one that has the "
            f'version. {_how_to_install(path)}, or write version = "1.2.3".'
        )
    return _version(built.get("Version"), f"The field Version of the installed package {name}")


def _project_description(project: dict[str, Any], built: Mapping[str, Any] | None, path: Path) -> str:
    if "description" in project:
        return _text(project["description"], _key("description", path))
    return _known((built or {}).get("Summary"))


def _project_licence(project: dict[str, Any], built: Mapping[str, Any] | None, path: Path) -> str:
    """``license`` as PEP 639 has it (a string) or as PEP 621 had it (a table), else what the classifiers say."""
    licence = project.get("license")
    match licence:
        case None:
            classified = _classified(_list(project.get("classifiers")))
            return classified or (_installed_licence(built) if built else "")
        case str(text):
            return _first_line(text)
        case {"text": str(text)} if len(licence) == 1:
            return _first_line(text)
        case {"file": str(file)} if len(licence) == 1:
            return _first_line(_licence_file(path.parent / file, path))
    raise DescriptionError(
        f"{_key('license', path)} is {licence!r}; expected an SPDX expression, or a table with either text or file. "
        'Write license = "MIT", or the one that applies.'
    )


def _licence_file(file: Path, path: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DescriptionError(
            f"{_key('license', path)} names the file {file}, which cannot be read: {error.strerror}. "
            'Create it, or write license = "MIT", or the one that applies.'
        ) from error


def _classified(classifiers: Iterable[object]) -> str:
    """The last part of the licence classifiers ("License :: OSI Approved :: MIT License")."""
    found = (text for text in classifiers if isinstance(text, str) and text.startswith(_LICENCE_CLASSIFIER))
    return ", ".join(text.rpartition(" :: ")[2] for text in found)


def _key(name: str, path: Path) -> str:
    return f"The key project.{name} of {path}"


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise DescriptionError(f"{what} is {value!r}; expected a string. Correct it.")
    return value


def _filled(value: object, what: str) -> str:
    if value is None:
        raise DescriptionError(f"{what} is missing; expected a string. Add it.")
    if not _text(value, what).strip():
        raise DescriptionError(f"{what} is {value!r}; expected a string that is not blank. Correct it.")
    return _text(value, what)


def _version(value: object, what: str) -> str:
    version = _filled(value, what).strip()
    if _SEMVER.fullmatch(version):
        return version
    try:
        Version(version)
    except InvalidVersion:
        raise DescriptionError(f"{what} is {version!r}; expected {_VERSION_RULE}. Correct it.") from None
    return version


def _known(value: object) -> str:
    return value if isinstance(value, str) and value != _PLACEHOLDER else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
