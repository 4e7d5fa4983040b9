"""The worker's description: where it is read from, every form a licence or version has, and each fault's remedy."""

import sys
import types
from pathlib import Path

import pytest

from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.errors import ConfigurationError, DescriptionError

SEED = """
[project]
name = "my_python_worker"
version = "1.2.3"
description = "A dummy Python worker to help you figure out how it works!"
license = { text = "MIT" }

[build-system]
requires = [
  "mcai_worker_sdk",
]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, and a script elsewhere that has no pyproject.toml near it."""
    here, elsewhere = tmp_path / "here", tmp_path / "bin" / "nested"
    here.mkdir()
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(here)
    run_from(monkeypatch, elsewhere / "worker.py")
    return here


@pytest.fixture
def package(folder, tmp_path, monkeypatch):
    """A package that can be imported and is not installed, in a project elsewhere."""
    place = tmp_path / "project" / "my_package"
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(place.parent))
    return place


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory of installed packages."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    return place


def run_from(monkeypatch, script: Path):
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)


def describe(folder: Path, text: str) -> WorkerDescription:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return WorkerDescription(None)


def project(*lines: str) -> str:
    return "\n".join(("[project]", 'name = "worker"', 'version = "1.0.0"', *lines))


def install(site: Path, name: str, *fields: str, top_level: str = "", body: str = ""):
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(("Metadata-Version: 2.4", *fields)) + f"\n\n{body}", encoding="utf-8")
    if top_level:
        (info / "top_level.txt").write_text(top_level + "\n")


def refused(call, *arguments) -> str:
    with pytest.raises(DescriptionError) as refusal:
        call(*arguments)
    assert isinstance(refusal.value, ConfigurationError)
    return str(refusal.value)


def test_the_file_of_the_documentation_is_read(folder):
    description = describe(folder, SEED)

    assert description.name == "my_python_worker"
    assert description.version == "1.2.3"
    assert description.description == "A dummy Python worker to help you figure out how it works!"
    assert description.license == "MIT"
    assert description.warnings() == []


@pytest.mark.parametrize("arguments", [{}, {"package": None}, {"package_name": None}, {"package_name": ""}])
def test_every_way_to_name_no_package_reads_the_file(folder, arguments):
    (folder / "pyproject.toml").write_text(SEED)

    assert WorkerDescription(**arguments).name == "my_python_worker"


def test_the_file_of_the_current_directory_wins_over_the_script_s(folder, tmp_path, monkeypatch):
    (tmp_path / "bin" / "pyproject.toml").write_text(project().replace('"worker"', '"beside_the_script"'))

    assert describe(folder, SEED).name == "my_python_worker"


@pytest.mark.parametrize("place", ["bin/nested", "bin"])
def test_the_file_is_found_beside_the_script_and_above_it(folder, tmp_path, place):
    (tmp_path / place / "pyproject.toml").write_text(SEED)

    assert WorkerDescription(None).name == "my_python_worker"


def test_the_file_is_not_looked_for_any_further_up(folder, tmp_path):
    (tmp_path / "pyproject.toml").write_text(SEED)

    text = refused(WorkerDescription, None)

    assert text == (
        f"There is no pyproject.toml in {folder}, {tmp_path}/bin/nested, {tmp_path}/bin; expected one that describes "
        "the worker. Create it, start the worker from its directory, or pass the name of the installed package."
    )


def test_without_a_script_only_the_current_directory_is_searched(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "__main__")

    assert f"There is no pyproject.toml in {folder}; " in refused(WorkerDescription, None)


def test_a_current_directory_that_was_removed_is_passed_over(folder, tmp_path):
    (tmp_path / "bin" / "pyproject.toml").write_text(SEED)
    folder.rmdir()

    assert WorkerDescription(None).name == "my_python_worker"


def test_a_file_without_build_system_and_with_unknown_keys_is_read(folder):
    description = describe(folder, project("unheard_of = 1", 'license = "MIT"', "[tool.anything]", "x = 1"))

    assert (description.name, description.version, description.description) == ("worker", "1.0.0", "")


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (['license = "MIT"'], "MIT"),
        (['license = "MIT OR Apache-2.0"'], "MIT OR Apache-2.0"),
        (['license = { text = "Weird Own" }'], "Weird Own"),
        (['license = { text = "Commercial" }'], "Commercial"),
        (['license = { text = """\n\nLicence of the House\nand its terms""" }'], "Licence of the House"),
        (['license = { file = "LICENCE.txt" }'], "Licence publique française"),
        (['classifiers = ["Topic :: Multimedia", "License :: OSI Approved :: MIT License"]'], "MIT License"),
        (['license = "MIT"', 'classifiers = ["License :: OSI Approved :: BSD License"]'], "MIT"),
        (['license-files = ["LICENCE.txt"]'], ""),
        ([], ""),
    ],
)
def test_every_form_of_a_licence_is_published_as_one_line(folder, lines, licence):
    (folder / "LICENCE.txt").write_text("\n  Licence publique française\n\nVersion 2\n", encoding="utf-8")

    assert describe(folder, project(*lines)).license == licence


def test_a_worker_without_a_licence_says_so_until_it_has_one(folder):
    description = describe(folder, project())

    assert description.warnings() == [
        "The worker worker names no licence. Set license under [project] in pyproject.toml."
    ]
    description.license = "MIT"
    assert description.warnings() == []


@pytest.mark.parametrize(
    "licence", ["3", "[]", "{}", '{ text = "MIT", file = "LICENSE" }', '{ file = ["LICENSE"] }', '{ name = "MIT" }']
)
def test_a_licence_of_another_form_is_refused(folder, licence):
    text = refused(describe, folder, project(f"license = {licence}"))

    assert text.startswith(f"The key project.license of {folder}/pyproject.toml is ")
    assert "expected an SPDX expression, or a table with either text or file." in text


def test_a_licence_file_that_is_missing_is_named(folder):
    text = refused(describe, folder, project('license = { file = "LICENSE" }'))

    assert text.startswith(
        f"The key project.license of {folder}/pyproject.toml names the file {folder}/LICENSE, which cannot be read: "
    )


@pytest.mark.parametrize(
    "version",
    [
        *(
            "0.0.4",
            "1.2.3",
            "1.2",
            "2012.4",
            "1!1.0",
            "1.0a1",
            "1.0rc1",
            "1.0.dev1",
            "1.0b2.post345.dev456",
            "1.0.post1",
        ),
        *("1.0.0-rc.1", "1.1.2-prerelease+meta", "1.0.0-alpha-a.b-c-something+build.1-aef.1", "2.0.1-alpha.1227"),
        *("0.1.1.dev1+gdcec07a", "1.2.3-SNAPSHOT", "1.0.0-0A.is.legal", "1.2.3----RC-SNAPSHOT.12.9.1--.12+788"),
    ],
)
def test_a_version_by_semver_or_pep_440_is_kept_as_written(folder, version):
    assert describe(folder, project().replace("1.0.0", version)).version == version


@pytest.mark.parametrize(
    "version",
    ["abc", "1.2-SNAPSHOT", "+invalid", "1.0.0-alpha..1", "1.2.3-0123.0123", "1.0.0-", "latest", "1,0"],
)
def test_a_version_by_neither_is_refused_when_it_is_read_and_when_it_is_set(folder, version):
    read = refused(describe, folder, project().replace("1.0.0", version))
    description = describe(folder, project())
    written = refused(setattr, description, "version", version)

    rule = f"is {version!r}; expected a version by SemVer or PEP 440, such as 1.2.3. Correct it."
    assert read == f"The key project.version of {folder}/pyproject.toml {rule}"
    assert written == f"The worker's version {rule}"
    assert description.version == "1.0.0"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[project", "is not valid TOML: "),
        ("[project]\nname = 1\n" * 2, "is not valid TOML: "),
        ("", "has no table [project]; expected one that describes the worker. "),
        ('[tool.poetry]\nname = "worker"', "has no table [project]; "),
        ('project = "worker"', "has no table [project]; "),
    ],
)
def test_a_file_that_is_no_description_is_named_with_its_fault(folder, text, fault):
    assert refused(describe, folder, text).startswith(f"The file {folder}/pyproject.toml {fault}")


def test_a_file_that_is_not_utf_8_is_refused(folder):
    (folder / "pyproject.toml").write_bytes(SEED.replace("dummy", "donnée").encode("latin-1"))

    assert "is not valid TOML: 'utf-8' codec" in refused(WorkerDescription, None)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (['version = "1.0"'], "The key project.name of {} is missing; expected a string. Add it."),
        (['name = ""', 'version = "1.0"'], "The key project.name of {} is ''; expected a string that is not blank."),
        (["name = 3", 'version = "1.0"'], "The key project.name of {} is 3; expected a string."),
        (['name = "w"'], "The key project.version of {} is missing; expected a version by SemVer or PEP 440"),
        (['name = "w"', 'dynamic = ["description"]'], "The key project.version of {} is missing; "),
        (['name = "w"', "version = 1.0"], "The key project.version of {} is 1.0; expected a string."),
        (['name = "w"', 'version = "1"', "description = []"], "The key project.description of {} is []; "),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_named_with_its_file(folder, lines, fault):
    text = refused(describe, folder, "\n".join(("[project]", *lines)))

    assert text.startswith(fault.format(f"{folder}/pyproject.toml"))


def test_lists_of_the_wrong_type_are_tolerated_where_nothing_is_read_from_them(folder):
    assert describe(folder, project('dynamic = "readme"', "classifiers = 3")).license == ""


def test_what_is_dynamic_is_read_from_the_installed_package(folder, site):
    install(site, "built-worker", "Name: built-worker", "Version: 4.5.6", "Summary: Built.", "License-Expression: MIT")

    description = describe(
        folder, '[project]\nname = "built_worker"\ndynamic = ["version", "description", "license"]\n'
    )

    assert description.name == "built_worker"
    assert (description.version, description.description, description.license) == ("4.5.6", "Built.", "MIT")


def test_a_dynamic_version_of_a_package_that_is_not_installed_is_refused(folder):
    text = refused(describe, folder, '[project]\nname = "never_built"\ndynamic = ["version"]\n')

    assert text == (
        f"The key project.version of {folder}/pyproject.toml is dynamic, and no package named never_built is "
        "installed; expected one that has the version. "
        'Install the worker (pip install -e .), or write version = "1.2.3".'
    )


@pytest.mark.parametrize("keyword", ["package_name", "package"])
def test_an_installed_package_is_read_under_either_keyword(site, keyword):
    install(site, "py-worker", "Name: py-worker", "Version: 1.2", "Summary: Works.", "License: MIT")

    description = WorkerDescription(**{keyword: "py_worker"})

    assert (description.name, description.version) == ("py-worker", "1.2")
    assert (description.description, description.license) == ("Works.", "MIT")


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (["License: MIT"], "MIT"),
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["License: Free text of one's own"], "Free text of one's own"),
        (["License: MIT License", "        ", "        Copyright (c) 2026"], "MIT License"),
        (["Classifier: Topic :: Multimedia", "Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["License: UNKNOWN"], ""),
        ([], ""),
    ],
)
def test_every_licence_field_of_installed_metadata_is_read(site, fields, licence):
    install(site, "py-worker", "Name: py-worker", "Version: 1.2", *fields)

    assert WorkerDescription("py-worker").license == licence


@pytest.mark.parametrize("summary", [[], ["Summary: UNKNOWN"]])
def test_a_package_without_a_summary_has_an_empty_description(site, summary):
    install(site, "py-worker", "Name: py-worker", "Version: 1.2", *summary)

    assert WorkerDescription("py-worker").description == ""


def test_an_import_package_leads_to_the_distribution_that_brings_it(site):
    install(site, "acme-digest-worker", "Name: acme-digest-worker", "Version: 1.2", top_level="digest_worker")

    assert WorkerDescription("digest_worker.commands").name == "acme-digest-worker"


def test_an_import_package_of_two_distributions_leads_to_neither(site):
    for name in ("acme-one", "acme-two"):
        install(site, name, f"Name: {name}", "Version: 1.2", top_level="acme_shared")

    assert "The package name is 'acme_shared'" in refused(WorkerDescription, "acme_shared")


def test_a_package_that_is_not_installed_is_refused():
    assert refused(WorkerDescription, "never_built") == (
        "The package name is 'never_built'; expected an installed package. "
        "Install the worker (pip install -e .), or pass None to have its pyproject.toml read."
    )


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (["Name: py-worker"], "The field Version of the installed package py-worker is missing; "),
        (["Name: py-worker", "Version: one"], "The field Version of the installed package py-worker is 'one'; "),
        (["Version: 1.0"], "The field Name of the installed package py-worker is missing; "),
    ],
)
def test_installed_metadata_that_lack_a_field_are_refused(site, fields, fault):
    install(site, "py-worker", *fields)

    assert refused(WorkerDescription, "py-worker").startswith(fault)


def test_a_package_name_that_is_no_string_is_refused():
    assert refused(WorkerDescription, 3) == "The package name is 3; expected a string or None. Pass __package__."


def test_both_keywords_at_once_are_refused():
    with pytest.raises(DescriptionError, match="package_name and package"):
        WorkerDescription(package_name="a", package="b")


def test_every_field_can_be_set(folder):
    description = describe(folder, SEED)

    description.name = "other"
    description.version = "2.0rc1"
    description.description = ""
    description.license = "Private"

    assert repr(description) == "WorkerDescription(name='other', version='2.0rc1', license='Private')"
    assert description.description == ""


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("name", "  ", "The worker's name is '  '; expected a string that is not blank. Correct it."),
        ("name", None, "The worker's name is missing; expected a string. Add it."),
        ("version", 1.0, "The worker's version is 1.0; expected a string. Correct it."),
        ("description", None, "The worker's description is None; expected a string. Correct it."),
        ("license", ["MIT"], "The worker's license is ['MIT']; expected a string. Correct it."),
    ],
)
def test_a_field_set_to_something_else_is_refused_and_stays(folder, field, value, fault):
    description = describe(folder, SEED)
    before = getattr(description, field)

    assert refused(setattr, description, field, value) == fault
    assert getattr(description, field) == before


# A package that is not installed


@pytest.mark.parametrize("name", ["my_package", "my_package.inner.worker"])
def test_a_package_that_is_not_installed_is_described_by_its_project(folder, package, name):
    (package.parent / "pyproject.toml").write_text(SEED)
    (folder / "pyproject.toml").write_text(project())

    assert WorkerDescription(name).name == "my_python_worker"


def test_a_package_in_src_is_described_by_the_project_around(package, monkeypatch):
    inner = package.parent / "src" / "other_package"
    inner.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(inner.parent))
    (package.parent / "pyproject.toml").write_text(SEED)

    assert WorkerDescription("other_package").name == "my_python_worker"


def test_a_package_without_a_project_is_not_described_by_another(folder, package):
    (folder / "pyproject.toml").write_text(SEED)

    with pytest.raises(DescriptionError, match="The package name is 'my_package'; expected an installed package"):
        WorkerDescription("my_package")


@pytest.mark.parametrize("name", ["os", "..", ".x", "a..b", "json"])
def test_what_is_no_package_of_a_project_is_not_looked_for_there(folder, name):
    (folder / "pyproject.toml").write_text(SEED)

    with pytest.raises(DescriptionError, match="expected an installed package"):
        WorkerDescription(name)


BUILT = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


@pytest.mark.parametrize(
    "text", [project(), f"{project()}\n{BUILT}", f'{project()}\n[build-system]\nrequires = ["setuptools"]']
)
def test_a_project_that_pip_can_build_is_advised_to_be_installed(folder, text):
    (folder / "pyproject.toml").write_text(text)

    with pytest.raises(
        DescriptionError, match=r"expected an installed package. Install the worker \(pip install -e .\), or"
    ):
        WorkerDescription("never_built")


def test_a_project_that_pip_cannot_build_is_advised_how_it_can(folder):
    (folder / "pyproject.toml").write_text(SEED)

    with pytest.raises(DescriptionError) as caught:
        WorkerDescription("never_built")

    assert (
        f'In {folder}/pyproject.toml, write requires = ["hatchling"] and build-backend = "hatchling.build" in '
        "[build-system], and install the worker (pip install -e .), or pass None"
    ) in str(caught.value)
