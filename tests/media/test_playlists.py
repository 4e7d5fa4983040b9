"""HLS: segments that are missing, playlists that are not at their end."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.sources import file as file_source
from mcai_worker_sdk.settings import MediaSettings
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, run_job

SKIP = MediaSettings(on_error="skip")


@pytest.fixture(scope="module")
def vod(media_files, tmp_path_factory):
    """Five segments of 2 s each."""
    folder = tmp_path_factory.mktemp("vod")
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=10", "-f", "lavfi", "-i", "sine=440:r=48000:d=10",
        "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "hls",
        "-hls_time", "2", "-hls_list_size", "0", "-hls_segment_filename", str(folder / "%d.ts"),
        str(folder / "list.m3u8"),
    )  # fmt: skip
    (folder / "master.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\nlist.m3u8\n")
    return folder


def without(vod, folder, *numbers):
    shutil.copytree(vod, folder, dirs_exist_ok=True)
    for number in numbers:
        (folder / f"{number}.ts").unlink()
    return folder / "list.m3u8"


@contextmanager
def served(folder):
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def counts(worker):
    return {index: len(items) for index, items in worker.frames.items()}


@pytest.mark.parametrize("name", ["list.m3u8", "master.m3u8"])
def test_a_playlist_is_read_whole(vod, tmp_path, name):
    worker = NotingWorker(note=lambda frame: None)
    outcome = run_job(worker, vod / name, tmp_path)
    assert counts(worker)[0] == 250
    assert outcome.counts == {}


@pytest.mark.parametrize("missing", [(3, 4), (4,), (2,), (0,)])
@pytest.mark.parametrize("kinds", ["VIDEO AUDIO", "AUDIO"])
def test_missing_segments_fail_the_job(vod, tmp_path, missing, kinds):
    path = without(vod, tmp_path, *missing)
    worker = NotingWorker(kinds, note=lambda frame: None)
    with pytest.raises(MediaSourceError, match=r"ends early: its segments hold \d\.\d\d s of 10\.00 s"):
        run_job(worker, path, tmp_path)
    assert worker.frames


def test_missing_segments_on_a_server_fail_the_job(vod, tmp_path):
    without(vod, tmp_path, 3, 4)
    with served(tmp_path) as url, pytest.raises(MediaSourceError, match="its segments hold 6"):
        run_job(NotingWorker(note=lambda frame: None), f"{url}/list.m3u8", tmp_path)


def test_missing_segments_can_be_skipped(vod, tmp_path, caplog):
    worker = NotingWorker(note=lambda frame: None)
    run_job(worker, without(vod, tmp_path, 3, 4), tmp_path, settings=SKIP)
    assert counts(worker)[0] == 150
    assert "its segments hold" in caplog.text


def test_a_range_before_what_is_missing_is_whole(vod, tmp_path):
    worker = NotingWorker("VIDEO", note=lambda frame: None)
    run_job(worker, without(vod, tmp_path, 3, 4), tmp_path, sdk_stop_index=4000)
    assert 60 <= counts(worker)[0] <= 75


def unfinished(vod, folder, segments=5):
    """The playlist as its sender leaves it after so many segments."""
    path = without(vod, folder)
    text = path.read_text().replace("#EXT-X-ENDLIST\n", "")
    path.write_text("#EXTINF".join(text.split("#EXTINF")[: 1 + segments]))
    return path


@pytest.mark.parametrize("name", ["list.m3u8", "master.m3u8"])
@pytest.mark.parametrize("place", ["server", "disk"])
def test_a_live_playlist_that_stalls_is_told(vod, tmp_path, monkeypatch, caplog, place, name):
    monkeypatch.setattr(file_source, "NETWORK_TIMEOUT_SECONDS", 1.0)
    unfinished(vod, tmp_path)
    worker = NotingWorker("AUDIO", note=lambda frame: None)
    with served(tmp_path) as url:
        run_job(worker, f"{url}/{name}" if place == "server" else tmp_path / name, tmp_path)
    assert worker.frames
    assert "gives no more segments and does not say that it is at its end (EXT-X-ENDLIST)" in caplog.text


@pytest.mark.parametrize("name", ["list.m3u8", "master.m3u8"])
def test_a_playlist_on_disk_is_followed_while_it_grows(vod, tmp_path, caplog, name):
    path = unfinished(vod, tmp_path, segments=2)
    whole = tmp_path / "whole"
    shutil.copy(vod / "list.m3u8", whole)

    def grow(_):
        if whole.exists():
            whole.replace(path)

    worker = NotingWorker("VIDEO", note=grow)
    run_job(worker, tmp_path / name, tmp_path)
    assert counts(worker)[0] == 250
    assert "no more segments" not in caplog.text
