"""Why a source cannot be opened: what FFmpeg says about it in its log, and nothing secret."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import re
import threading

import av
import av.logging
import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.sources.ffmpeg_log import log_level, logged_lines, reason_of
from mcai_worker_sdk.media.sources.file import open_file_source

HEAD = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n"
KEY = '#EXT-X-KEY:METHOD=AES-128,URI="{}"\n'


def playlist(segment: str, before: str = "") -> str:
    return f"{HEAD}{before}#EXTINF:4,\n{segment}\n#EXT-X-ENDLIST\n"


@pytest.fixture
def folder(media_files, tmp_path):
    """A segment under a name of segments, one under another, and a key."""
    (tmp_path / "segment.ts").write_bytes(media_files("h264.ts").read_bytes())
    (tmp_path / "secret").write_bytes(media_files("h264.ts").read_bytes())
    return tmp_path


def fault_of(source: object) -> str:
    with pytest.raises(MediaSourceError) as caught:
        open_file_source(str(source))
    assert str(caught.value).startswith("Source ")
    assert str(caught.value).endswith("Check the parameter 'source_path'.")
    return str(caught.value)


def _is_refused(folder) -> bool:
    """Whether this FFmpeg refuses segments by their names, as it does since 7.1.1."""
    path = folder / "refused.m3u8"
    path.write_text(playlist("secret"))
    try:
        av.open(str(path)).close()
    except av.error.FFmpegError:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("key.m3u8", playlist("segment.ts", KEY.format("no.ts")), "Unable to open key file .*no.ts"),
        ("gone.m3u8", playlist("gone.ts"), "Error when loading first segment '.*gone.ts'"),
        (
            "http.m3u8",
            playlist("http://127.0.0.1:1/segment.ts"),
            "Protocol 'http' not on whitelist 'file,crypto,data'",
        ),
        ("unsafe.ffconcat", "ffconcat version 1.0\nfile '{folder}/segment.ts'\n", "Unsafe file name '.*segment.ts'"),
        ("gone.ffconcat", "ffconcat version 1.0\nfile gone.ts\n", "Impossible to open '.*gone.ts'"),
        ("words.ffconcat", "ffconcat version 1.0\nfoil segment.ts\n", "unknown keyword 'foil'"),
        ("empty.mp4", "", "moov atom not found"),
    ],
)
def test_a_file_that_is_refused_is_so_with_the_reason(folder, name, content, reason):
    path = folder / name
    path.write_text(content.replace("{folder}", str(folder)))

    # The second time as well: a row of equal lines is not taken for one.
    for source in (path, path, path.as_uri()):
        fault = fault_of(source)
        assert re.search(rf"cannot be opened: [A-Z][^(]* \(FFmpeg says: .*{reason}.*\); expected", fault), fault
    assert av.logging.get_level() is None


def test_segments_that_are_refused_for_their_names_are_named(folder):
    if not _is_refused(folder):
        open_file_source(str(folder / "refused.m3u8")).close()
        return
    assert re.search(r"URL .*/secret is not in allowed_(segment_)?extensions", fault_of(folder / "refused.m3u8"))


@pytest.fixture
def server(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if "forbidden" in self.path:
                self.send_error(403)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://user:hush@127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_server_that_refuses_a_segment_or_its_key_is_told_without_secrets(folder, server):
    (folder / "segment.m3u8").write_text(playlist("forbidden.ts?token=hush"))
    (folder / "key.m3u8").write_text(playlist("segment.ts", KEY.format("forbidden.ts?token=hush")))

    for name, reason in [("segment", "Error when loading first segment"), ("key", "Unable to open key file")]:
        fault = fault_of(f"{server}/{name}.m3u8?signature=hush")
        assert "HTTP error 403" in fault
        assert reason in fault
        assert "forbidden.ts?token=..." in fault
        assert "hush" not in fault


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("no/such.mp4", "No such file or directory"),
        (".", "Is a directory"),
        ("nosuch://host/a", "Protocol not found"),
        ("http://127.0.0.1:1/a.mp4", "Connection refused"),
    ],
)
def test_what_is_plain_is_told_plainly(source, reason):
    assert f"cannot be opened: {reason}; expected" in fault_of(source)


def test_what_can_be_read_once_only_is_not_read_again(folder):
    pipe = folder / "pipe.mp4"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(b"no media"), daemon=True).start()

    # A second reading would wait for ever.
    assert "Invalid data found when processing input; expected" in fault_of(pipe)


def test_the_log_of_others_is_neither_taken_nor_told(folder, caplog):
    caplog.set_level(logging.INFO)
    (folder / "a.ffconcat").write_text("ffconcat version 1.0\nfoil\n")
    av.logging.set_level(av.logging.INFO)
    try:
        with pytest.raises(av.error.InvalidDataError):
            av.open(str(folder / "a.ffconcat"))
        assert "unknown keyword" in caplog.text
        caplog.clear()

        assert "unknown keyword" in fault_of(folder / "a.ffconcat")
        assert av.logging.get_level() == av.logging.INFO
        assert av.logging.get_skip_repeated() is True
    finally:
        av.logging.set_level(None)


def test_lines_of_other_threads_are_no_reason():
    with logged_lines() as lines:
        thread = threading.Thread(target=lambda: av.logging.log(av.logging.ERROR, "other", "of another thread"))
        thread.start()
        thread.join()
        for _ in range(2):
            av.logging.log(av.logging.ERROR, "mov", "first\n")
        av.logging.log(av.logging.WARNING, "mov", "of no weight")
        av.logging.log(av.logging.WARNING, "https", "HTTP error 404")
        av.logging.log(av.logging.ERROR, "tls", "at tcp://u:hush@h:1/a?x=hush, it ends")
        av.logging.log(av.logging.ERROR, "mov", "one too many")
    assert reason_of(lines) == "first; HTTP error 404; at tcp://h:1/a?x=..., it ends"
    assert len(reason_of([(av.logging.ERROR, "", "x" * 1000)])) < 600


def test_the_level_is_set_back_by_the_last_who_reads():
    begun, may_end = threading.Event(), threading.Event()

    def read() -> None:
        with log_level(av.logging.INFO):
            begun.set()
            may_end.wait(20)

    thread = threading.Thread(target=read)
    with log_level(av.logging.ERROR):
        assert av.logging.get_level() == av.logging.ERROR
        thread.start()
        begun.wait(20)
        assert av.logging.get_level() == av.logging.INFO
    assert av.logging.get_level() == av.logging.INFO
    may_end.set()
    thread.join()
    assert av.logging.get_level() is None
