"""What the repository's tools say of the house: the picture is today's, and each figure counts what it says."""

from pathlib import Path

from tests.unit.house import ROOT
from tools.house import House
from tools.rooms import PICTURE, draw

SOURCE = ROOT / "src" / "mcai_worker_sdk"


def planted(folder: Path, **files: str) -> House:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return House(folder)


def test_the_picture_of_the_rooms_is_the_one_of_today():
    assert PICTURE.read_text(encoding="utf-8") == draw(), "Run python -m tools.rooms."


def test_no_two_modules_import_each_other(tmp_path: Path):
    one, other = "from mcai_worker_sdk.b import x", "def f():\n    from mcai_worker_sdk.a import y"

    assert House(SOURCE).circles() == 0
    assert planted(tmp_path, a=one, b=other).circles() == 1


def test_each_verb_about_a_job_is_defined_once(tmp_path: Path):
    again = "class Runner:\n    def stop(self, job_id): ...\nclass StopJob: ..."

    assert House(SOURCE).definitions_of_verbs() == 6
    assert planted(tmp_path, a=again).definitions_of_verbs() == 2


def test_the_private_names_that_a_room_takes_from_another_are_counted(tmp_path: Path):
    owner, user = "class C:\n    def __init__(self):\n        self._x = 1", "def f(c):\n    return c._x"

    assert planted(tmp_path, one__a=owner, two__b=user).names_across_rooms() == {"two": 1}


def test_the_longest_function_is_counted_without_its_docstring(tmp_path: Path):
    text = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'

    assert planted(tmp_path, a=text).longest_function() == (2, "a.py: f")
