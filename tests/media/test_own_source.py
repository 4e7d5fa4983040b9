"""Results are never written over what the job reads, however source and destination are spelt."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mcai_worker_sdk.errors import MediaDestinationError
from mcai_worker_sdk.media.results.own_source import reads_file
from tests.media.support import NotingWorker, make_session, run_job


@pytest.fixture
def film(media_files, tmp_path, monkeypatch):
    """A source in the working directory, beside a link of each kind to it."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "film o.mkv"
    shutil.copy(media_files("odd.mkv"), path)
    (tmp_path / "symbolic.mkv").symlink_to(path)
    (tmp_path / "hard.mkv").hardlink_to(path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    return path


SOURCES = [
    "{path}",
    "film o.mkv",
    "./folder/../film o.mkv",
    "linked/film o.mkv",
    "symbolic.mkv",
    "hard.mkv",
    "file:{path}",
    "file:film%20o.mkv",
    "FILE://localhost{path}",
    "{uri}",
    "concat:{path}",
    "concat:other.mkv|film o.mkv|other.mkv",
    "concat:file:{path}",
    "concat:cache:file:{path}|other.mkv",
    "concatf:list.txt",
    "cache:{path}",
    "async:{path}",
    "async:cache:file:film o.mkv",
    "crypto:{path}",
    "crypto+file:{path}",
    "subfile,,start,0,end,9,,:{path}",
    "subfile,;start;0;end;9;;:file:{path}",
    "subfile:{path}",
    "CONCAT:{path}",
    "list.ffconcat",
    "nested.m3u8",
    "map.m3u8",
    "cast.mpd",
    "file:nested.m3u8",
]
DESTINATIONS = [
    "{path}",
    "film o.mkv",
    "folder/../film o.mkv",
    "linked/film o.mkv",
    "symbolic.mkv",
    "hard.mkv",
    "file:{path}",
    "{uri}",
    "FILE://localhost{path}",
    "/proc/self/cwd/film o.mkv",
]


def _write_lists(path: Path) -> None:
    folder = path.parent
    (folder / "list.txt").write_text("file:other.mkv\nfilm o.mkv\n")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile other.mkv\nfile 'film o.mkv'\n")
    (folder / "media.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n#EXTINF:1,\nfilm o.mkv\n#EXT-X-ENDLIST\n")
    (folder / "nested.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmedia.m3u8\n")
    (folder / "map.m3u8").write_text(f'#EXTM3U\n#EXT-X-MAP:URI="{path}"\n#EXTINF:1,\nother.m4s\n')
    (folder / "cast.mpd").write_text("<?xml version='1.0'?><MPD><BaseURL>film o.mkv</BaseURL></MPD>")


def _refuse(source: object, destination: object) -> None:
    session, *_ = make_session(NotingWorker(), source, str(destination))
    with pytest.raises(MediaDestinationError, match=r"is the source itself; expected another file for the results"):
        session.open()
    session.close()


@pytest.mark.parametrize(
    ("source", "destination"),
    [*((source, "{path}") for source in SOURCES), *(("{path}", destination) for destination in DESTINATIONS)]
    + [("cache:{path}", destination) for destination in DESTINATIONS]
    + [("nested.m3u8", destination) for destination in DESTINATIONS],
)
def test_the_source_is_no_destination(film, source, destination):
    _write_lists(film)
    content, names = film.read_bytes(), sorted(os.listdir())
    _refuse(
        source.format(path=film, uri=film.as_uri()),
        destination.format(path=film, uri=film.as_uri()),
    )

    assert film.read_bytes() == content
    assert sorted(os.listdir()) == names


def test_a_list_is_no_destination_either(film):
    _write_lists(film)
    for name in ("list.txt", "list.ffconcat", "media.m3u8", "nested.m3u8", "cast.mpd"):
        _refuse("concatf:list.txt" if name == "list.txt" else name, name)
    _refuse("nested.m3u8", "media.m3u8")


def test_a_descriptor_is_the_file_it_reads(film):
    with film.open("rb") as opened:
        for name in (f"/dev/fd/{opened.fileno()}", f"/proc/self/fd/{opened.fileno()}", f"pipe:{opened.fileno()}"):
            _refuse(name, film)
            if not name.startswith("pipe"):
                _refuse(film, name)
        kept = os.dup(0)
        try:
            os.dup2(opened.fileno(), 0)
            for name in ("pipe:", "pipe:0", "fd:", "/dev/stdin", "cache:pipe:0"):
                _refuse(name, film)
        finally:
            os.dup2(kept, 0)
            os.close(kept)


def test_an_image_of_a_sequence_is_no_destination(media_files, tmp_path):
    for number in range(2):
        shutil.copy(media_files("image.png"), tmp_path / f"img{number:03}.png")
    for source in (f"{tmp_path}/img%03d.png", f"file:{tmp_path}/img%03d.png", f"file://{tmp_path}/img%d.png"):
        _refuse(source, tmp_path / "img001.png")
    assert not reads_file(f"{tmp_path}/img%03d.png", tmp_path / "image.png")


def test_the_name_results_have_meanwhile_is_no_source(film, tmp_path):
    source = tmp_path / ".results.json.part"
    shutil.copy(film, source)

    _refuse(source, tmp_path / "results.json")
    assert source.read_bytes() == film.read_bytes()


@pytest.mark.parametrize(
    "source",
    ["{path}", "concat:{path}", "cache:{path}", "media.m3u8", "http://127.0.0.1/film o.mkv", "pipe:77", "data:,film o"],
)
def test_another_file_is_a_destination(film, tmp_path, source):
    _write_lists(film)
    other = tmp_path / "folder" / "film o.mkv"
    other.touch()

    assert not reads_file(source.format(path=film), other)
    assert not reads_file(source.format(path=film), tmp_path / "no such file")


def test_a_source_over_a_protocol_writes_its_results_elsewhere(film, tmp_path):
    worker = NotingWorker("VIDEO")
    run_job(worker, f"cache:file:{film}", tmp_path / "folder", batch_size=50)
    assert len(worker.frames[0]) == 25


def test_long_addresses_and_lists_are_searched_to_their_end(film, tmp_path):
    parts = "|".join(f"file:/no/such/{number}.ts" for number in range(5000))
    colons = "cache:" * 5000
    (tmp_path / "long.m3u8").write_text("#EXTM3U\n" + "segment.ts\n" * 100_000 + film.name)

    for source in (f"concat:{parts}|{film}", f"{colons}{film}", "long.m3u8"):
        assert reads_file(source, film)
    assert not reads_file(f"concat:{parts}", film)
