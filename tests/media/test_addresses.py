"""Sources, destinations and TTML files by every spelling of their names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mcai_worker_sdk.errors import ParameterError
from tests.media.support import NotingWorker, make_session, run_job

NAMES = [
    "a b",
    "é字",
    "50%25",
    "what?",
    "no#1",
    "12:30",
    "file:x",
    "concat:y",
    "http:z",
    "srt:z",
    "C:\\v",
    "sub,file|x",
    "subfile,,a:b",
    "%03d",
    os.fsdecode(b"lat\xe9"),
]

SPELLINGS = {
    "absolute": str,
    "relative": lambda path: path.name,
    "URL": Path.as_uri,
    "capitals": lambda path: "FILE" + path.as_uri()[4:],
    "localhost": lambda path: "file://localhost" + path.as_uri()[7:],
    "one slash": lambda path: "file:" + path.as_uri()[7:],
    "not encoded": lambda path: f"file://{path}",
    "relative URL": lambda path: "file:" + path.as_uri().rpartition("/")[2],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("file", "kind", "count"), [("odd.mkv", "VIDEO", 25), ("text.ttml", "SUBTITLE", 2)], ids=["media", "TTML"]
)
def test_a_source_is_found(media_files, tmp_path, monkeypatch, file, kind, count, name):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / f"{name}{Path(file).suffix}"
    shutil.copy(media_files(file), source)

    for spelling, spell in SPELLINGS.items():
        worker = NotingWorker(kind)
        run_job(worker, spell(source), tmp_path, batch_size=50)
        assert len(worker.frames[0]) == count, spelling


#: What nothing tells apart from a URL while there is no such file: it is decoded.
_TAKEN_FOR_A_URL = {
    ("50%25", "not encoded"): "50%",
    ("%03d", "not encoded"): "\x03d",
    ("file:x", "relative"): "x",
}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_destination_is_written_where_its_name_says(media_files, tmp_path, monkeypatch, name, is_there):
    monkeypatch.chdir(tmp_path)
    for spelling, spell in SPELLINGS.items():
        destination = tmp_path / f"{name}.json"
        address = spell(destination)
        if is_there:
            destination.touch()
        else:
            destination = tmp_path / f"{_TAKEN_FOR_A_URL.get((name, spelling), name)}.json"

        session, *_ = make_session(NotingWorker("VIDEO"), media_files("odd.mkv"), address, batch_size=50)
        session.open()
        session.run()

        assert json.loads(destination.read_text()) == {"frames": [{"count": 25}]}, spelling
        assert os.listdir(tmp_path) == [destination.name], spelling
        destination.unlink()


def test_a_sequence_of_images_is_read_unless_one_has_that_very_name(media_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        shutil.copy(media_files("image.png"), tmp_path / f"img{number:03}.png")

    def count(address):
        worker = NotingWorker("VIDEO")
        run_job(worker, address, tmp_path / "..", batch_size=10)
        return len(worker.frames[0])

    spellings = ["img%03d.png", f"{tmp_path}/img%03d.png", "file:img%03d.png", f"file://{tmp_path}/img%03d.png"]
    assert [count(address) for address in spellings] == [3] * 4
    shutil.copy(media_files("image.png"), tmp_path / "img%03d.png")
    assert [count(address) for address in spellings] == [1] * 4


@pytest.mark.parametrize("name", ["source_path", "destination_path"])
@pytest.mark.parametrize("value", ["a\0b", "a\ud800b"])
def test_an_address_no_file_can_have_is_refused(tmp_path, name, value):
    session, *_ = make_session(NotingWorker(), tmp_path / "a", tmp_path / "b", **{name: value})

    with pytest.raises(ParameterError, match=rf"Parameter '{name}' is .*; expected characters that a path may hold"):
        session.open()
