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


def install_commands() -> list[tuple[str, str]]:
    """Each line of a page that installs the SDK, with the page."""
    pages = [
        *ROOT.glob("*.md"),
        *(page for part in ("docs", "examples", "packaging") for page in (ROOT / part).rglob("*.md")),
    ]
    return [
        (page.relative_to(ROOT).as_posix(), line)
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if "pip install" in line and "mcai-worker-sdk" in line
    ]


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


def test_every_page_says_where_version_3_comes_from_until_it_is_published():
    commands = install_commands()

    assert {"docs/howto/install.md", "packaging/media/README.md"} <= {page for page, _ in commands}
    assert [
        (page, line)
        for page, line in commands
        if not re.search(r"pip install --find-links dist \"mcai-worker-sdk(-media|\[media\])?>=3\"", line)
    ] == []


def test_no_project_of_somebody_else_is_claimed():
    assert "urls" not in read_project(".")


def test_the_worker_that_is_deployed_is_the_one_of_the_tutorial():
    page = (ROOT / "docs" / "howto" / "deploy.md").read_text(encoding="utf-8")
    long_form = tomllib.loads(page.split("```toml\n", 1)[1].split("```", 1)[0])
    (package,) = long_form["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    short_form = read_project("examples/minimal")

    assert {key: long_form["project"][key] for key in short_form} == short_form
    assert long_form["project"]["requires-python"] == read_project(".")["requires-python"]
    assert (ROOT / "examples" / "minimal" / package / "worker.py").is_file()
    assert f"COPY {package} ./{package}" in page
    assert f'CMD ["python", "-m", "{package}.worker"]' in page
