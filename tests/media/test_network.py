"""Sources over HTTP: read, cut, refused, silent, left behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mcai_worker_sdk.errors import MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.settings import MediaSettings
from tests.media.support import NotingWorker, make_session, run_job


@contextmanager
def serving(
    data: bytes,
    *,
    ranges: bool = True,
    part: float = 1.0,
    status: int = 200,
    version: str = "HTTP/1.0",
    says_length: bool = True,
) -> Iterator[str]:
    """An HTTP server of one file: with or without byte ranges, whole or cut. It closes after each answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self):
            start = 0
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = self.headers.get("Range")
            if ranges and asked:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            if says_length:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):
                self.wfile.write(data[start : int(len(data) * part)])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/media"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/media.mp4"


@pytest.mark.parametrize("name", ["h264_bframes.mp4", "faststart.mp4", "h264.ts", "ffv1_flac.mkv"])
def test_a_file_over_http_is_read_whole(media_files, tmp_path, name):
    worker = NotingWorker("VIDEO")
    with serving(media_files(name).read_bytes()) as url:
        run_job(worker, url, tmp_path, batch_size=10)
    assert len(worker.frames[0]) == 100


@pytest.mark.parametrize("name", ["h264_bframes.mp4", "h264.ts"])
def test_a_server_that_closes_its_connections_without_saying_so_is_read_whole(media_files, tmp_path, name):
    worker = NotingWorker("VIDEO")
    with serving(media_files(name).read_bytes(), version="HTTP/1.1") as url:
        run_job(worker, url, tmp_path, batch_size=10)
    assert len(worker.frames[0]) == 100


@pytest.mark.parametrize("name", ["h264.ts", "faststart.mp4"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_source_that_only_its_servers_closing_ends_is_read_whole(media_files, tmp_path, name, version):
    worker = NotingWorker("VIDEO")
    data = media_files(name).read_bytes()
    with serving(data, ranges=False, version=version, says_length=False) as url:
        run_job(worker, url, tmp_path, batch_size=10)
    assert len(worker.frames[0]) == 100


def test_a_server_without_ranges_is_enough_for_a_file_that_begins_with_its_index(media_files, tmp_path):
    worker = NotingWorker("VIDEO")
    with serving(media_files("faststart.mp4").read_bytes(), ranges=False) as url:
        run_job(worker, url, tmp_path, batch_size=10)
    assert len(worker.frames[0]) == 100


def test_a_file_whose_index_cannot_be_reached_is_an_error(media_files, tmp_path):
    data = media_files("h264_bframes.mp4").read_bytes()
    with serving(data, ranges=False) as url, pytest.raises(MediaSourceError):
        run_job(NotingWorker("VIDEO"), url, tmp_path, batch_size=10)


def test_a_body_that_is_cut_is_an_early_end(media_files, tmp_path):
    data = media_files("faststart.mp4").read_bytes()
    with serving(data, ranges=False, part=0.6) as url:
        with pytest.raises(MediaSourceError, match="ends early"):
            run_job(NotingWorker("VIDEO"), url, tmp_path, batch_size=10)
        worker = NotingWorker("VIDEO")
        outcome = run_job(worker, url, tmp_path, batch_size=10, settings=MediaSettings(on_error="skip"))
    assert 50 <= len(worker.frames[0]) <= 65
    assert len(outcome.entries) == len(worker.calls)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_of_the_server_is_told(tmp_path, status):
    with (
        serving(b"", status=status) as url,
        pytest.raises(MediaSourceError, match=rf"cannot be opened: .*({status}|5XX)"),
    ):
        run_job(NotingWorker("VIDEO"), url, tmp_path)


def test_a_silent_server_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr("mcai_worker_sdk.media.sources.file.NETWORK_TIMEOUT_SECONDS", 0.3)
    with silent_server() as url, pytest.raises(MediaTimeoutError, match="did not answer"):
        run_job(NotingWorker("VIDEO"), url, tmp_path)


def test_a_stop_does_not_wait_for_a_silent_server(tmp_path):
    worker = NotingWorker("VIDEO")
    with silent_server() as url:
        session, channel, _ = make_session(worker, url, tmp_path / "out.json")
        stopping = threading.Timer(0.2, channel._request_stop)
        stopping.start()
        started = time.monotonic()
        session.open()
        session.run()
        session.close()
        stopping.join()
        assert time.monotonic() - started < 20
    assert worker.context is None
