"""The two distributions belong together, and what the project says of itself is true."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def read_project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_media_distribution_is_the_same_version_with_the_media_extra():
    project, media = read_project("."), read_project("packaging/media")

    assert media["version"] == project["version"]
    assert media["requires-python"] == project["requires-python"]
    assert media["dependencies"] == [f"mcai-worker-sdk[media]=={project['version']}"]


def test_the_installed_metadata_are_those_of_the_project():
    assert metadata.version("mcai-worker-sdk") == read_project(".")["version"]


def test_the_changelog_has_an_entry_for_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.search(rf"^## \[{re.escape(read_project('.')['version'])}\]", changelog, re.MULTILINE)


def test_every_dependency_is_explained():
    project = read_project(".")
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    names = {Requirement(line).name for line in [*project["dependencies"], *extras]}
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")

    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_dependency_says_the_oldest_version_it_works_with():
    project = read_project(".")
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]

    assert [line for line in [*project["dependencies"], *extras] if ">=" not in line] == []
