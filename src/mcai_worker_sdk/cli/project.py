"""``new``: a project that installs, passes its own tests and runs its order as it is made."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from mcai_worker_sdk.errors import ConfigurationError

__all__ = ["KINDS", "make_project"]

#: What each kind of worker does, for its description.
KINDS: Mapping[str, str] = {
    "minimal": "Greets somebody, several times.",
    "file": "Counts the bytes and the lines of a file.",
    "video": "Measures how bright the pictures of a video are.",
    "audio": "Measures the level of a sound.",
    "subtitles": "Counts the words of subtitles.",
}
_MEDIA_KINDS = frozenset({"video", "audio", "subtitles"})
#: Keeps tools from taking a template for Python or for a project.
_SUFFIX = ".tmpl"
#: Where the files of a kind go; what is not here stands at the top, under its own name.
_PLACES = {
    "worker.py": "{package}/worker.py",
    "parameters.py": "{package}/parameters.py",
    "test_worker.py": "tests/test_worker.py",
    "order.json": "orders/example.json",
    "gitignore": ".gitignore",
    "dockerignore": ".dockerignore",
}


def make_project(name: str, kind: str, folder: Path) -> Iterator[str]:
    """
    Make a project in a new folder.

    Args:
        name: Its name, and the folder's.
        kind: One of :data:`KINDS`.
        folder: Where the new folder is made.

    Yields:
        What to tell about it, line by line; the project is there with the first.

    Raises:
        ConfigurationError: The name cannot be a project's, or there is something of that name already.
    """
    words = _words_of(name, kind)
    project = folder / name
    try:
        project.mkdir()
    except FileExistsError:
        raise ConfigurationError(
            f"The folder {str(project)!r} exists; expected a new one. Choose another name."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The folder {str(project)!r} cannot be made: {error.strerror}.") from None
    package = words["package"]
    templates = resources.files("mcai_worker_sdk.cli") / "templates"
    for template in [*(templates / "common").iterdir(), *(templates / kind).iterdir()]:
        file_name = template.name.removesuffix(_SUFFIX)
        if file_name != template.name:
            _write(template, project / _PLACES.get(file_name, file_name).format(package=package), words)
    (project / package / "__init__.py").write_text(f'"""{KINDS[kind]}"""\n', encoding="utf-8")
    (project / "wheels").mkdir()
    (project / "wheels" / ".gitkeep").touch()
    yield f"The project {name} is in {project}. Go on with:"
    yield ""
    yield f"  cd {name}"
    yield f"  {words['prepare'].strip()}" if words["prepare"] else "  python -m pytest"
    yield f"  mcai-worker run {package}.worker:{words['worker']} orders/example.json"
    yield ""
    yield "README.md has the rest."


def _words_of(name: str, kind: str) -> dict[str, str]:
    """What stands in the place of each name in the templates."""
    package = name.replace("-", "_").lower()
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?", name) or keyword.iskeyword(package):
        raise ConfigurationError(
            f"The project's name is {name!r}; expected letters and digits, with - or _ between them, and no word of "
            "Python's own. Choose another one."
        )
    title = "".join(part.capitalize() for part in package.split("_"))
    is_media = kind in _MEDIA_KINDS
    return {
        "name": name,
        "package": package,
        "worker": f"{title}Worker" if not title.endswith("Worker") else title,
        "parameters": f"{title.removesuffix('Worker')}Parameters",
        "queue": f"job_{package}",
        "description": KINDS[kind],
        "extra": "[media]" if is_media else "",
        "tools": "cli,media" if is_media else "cli",
        "prepare": "python make_source.py\n" if is_media else "",
    }


def _write(template: Traversable, path: Path, words: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
