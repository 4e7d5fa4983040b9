"""A job that is interrupted, by a stop or an exception, at whatever step: everything is released."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mcai_worker_sdk.errors import MediaError
from mcai_worker_sdk.media import processing, session, turns, waiting
from mcai_worker_sdk.media.reading import pipeline
from mcai_worker_sdk.media.results import file as file_results
from mcai_worker_sdk.media.results import opening as opening_destinations
from mcai_worker_sdk.media.results.file import FileResultWriter
from mcai_worker_sdk.media.results.opening import open_destination
from mcai_worker_sdk.media.sources import opening as opening_sources
from mcai_worker_sdk.media.sources.opening import open_source
from mcai_worker_sdk.media.srt import open_connection, parse_srt_url
from mcai_worker_sdk.media.waiting import Opening
from tests.media.live_support import connect_pair, free_port, make_channel
from tests.media.support import NotingWorker, filters, make_session

#: The modules in which a job is interrupted at each of their lines.
INTERRUPTED = {
    module.__file__
    for module in (session, processing, turns, waiting, opening_sources, opening_destinations, file_results, pipeline)
}


class Interrupt(BaseException):
    """What a signal handler of the worker's script raises, wherever the job's thread just is."""


@contextmanager
def interrupted_at(number: int) -> Iterator[list[str]]:
    """Raise in this thread before it first runs that one of the lines it comes to, counted from 0; yields the line."""
    passed: set[tuple[str, int]] = set()
    line: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in INTERRUPTED:
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in passed:
            if len(passed) == number:
                line.append(f"{Path(place[0]).name}:{place[1]}")
                raise Interrupt
            passed.add(place)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield line
    finally:
        sys.settrace(before)


def media_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("media-")]


def await_the_end_of_threads() -> None:
    for thread in media_threads():
        thread.join(20)
    assert media_threads() == []


def open_files(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if name.startswith(f"{folder}/"):
            names.append(name)
    return names


@pytest.fixture
def source(media_files, tmp_path):
    path = tmp_path / "source.mkv"
    shutil.copy(media_files("odd.mkv"), path)
    return path


def steps_of(do: Callable[[Any], None], make: Callable[[], Any], check: Callable[[Any, str], None]) -> int:
    """Interrupt ``do`` at each of its lines, one after the other; return how many there are."""
    number = 0
    while True:
        made = make()
        with interrupted_at(number) as line, suppress(Interrupt):
            do(made)
        check(made, "".join(line))
        if not line:
            return number
        number += 1


def test_whatever_line_of_a_job_is_interrupted_all_is_released(source, tmp_path):
    workers = []

    def make() -> Any:
        workers.append(NotingWorker("VIDEO", filters(("null", {}))))
        return make_session(workers[-1], source, tmp_path / "out.json", batch_size=20)[0]

    def do(job: Any) -> None:
        job.open()
        job.run()

    def check(job: Any, line: str) -> None:
        job.close()
        await_the_end_of_threads()
        assert open_files(tmp_path) == [], line
        assert set(os.listdir(tmp_path)) <= {"source.mkv", "out.json"}, line
        (tmp_path / "out.json").unlink(missing_ok=True)

    assert steps_of(do, make, check) > 100
    assert all(worker.endings <= 1 for worker in workers)


def test_a_release_that_is_interrupted_may_be_called_again(source, tmp_path):
    def make() -> Any:
        job = make_session(NotingWorker("VIDEO"), source, tmp_path / "out.json")[0]
        job.open()
        return job

    def check(job: Any, line: str) -> None:
        job.close()
        await_the_end_of_threads()
        assert open_files(tmp_path) == [], line
        assert os.listdir(tmp_path) == ["source.mkv"], line

    assert steps_of(lambda job: job.close(), make, check) > 10


class StoppedMeanwhile:
    """A channel whose stop comes in the instant in which the opening ends."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before

    def is_stopped(self) -> bool:
        # The thread that opens asks too; it is not stopped before it is through.
        if threading.current_thread() is not threading.main_thread():
            return False
        self._before()
        await_the_end_of_threads()
        return True


def test_a_destination_that_was_opened_in_the_instant_of_a_stop_is_discarded(tmp_path):
    may_open = threading.Event()
    path = tmp_path / "out.json"

    def call(_: object) -> FileResultWriter:
        may_open.wait(20)
        return FileResultWriter(str(path))

    assert Opening(StoppedMeanwhile(may_open.set)).open(call, lambda writer: writer.discard()) is None
    assert os.listdir(tmp_path) == []
    assert open_files(tmp_path) == []


def test_a_source_that_was_opened_in_the_instant_of_a_stop_is_closed(source, tmp_path):
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    data = source.read_bytes()

    def write() -> None:
        with suppress(BrokenPipeError):
            pipe.write_bytes(data)

    writing = threading.Thread(target=write, daemon=True)
    assert open_source(str(pipe), None, Opening(StoppedMeanwhile(writing.start))) is None
    writing.join(20)
    assert open_files(tmp_path) == []


def test_a_failure_in_the_instant_of_a_stop_is_none(tmp_path):
    may_fail = threading.Event()

    def call(_: object) -> None:
        may_fail.wait(20)
        raise MediaError("too late")

    assert Opening(StoppedMeanwhile(may_fail.set)).open(call, lambda _: None) is None


def test_a_pipe_that_nobody_writes_leaves_no_thread_behind(tmp_path):
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    session_, channel, _ = make_session(NotingWorker(), pipe, tmp_path / "out.json")
    channel._request_stop()

    session_.open()
    # The thread may not have come to the pipe yet: what is given up may be given up again.
    while media_threads():
        session_.close()
        for thread in media_threads():
            thread.join(0.05)

    with pytest.raises(OSError, match="No such device or address"):
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def check_nobody_listens(port: int) -> None:
    """Another listener takes the port and its caller."""
    for connection in connect_pair(port=port):
        connection.close()


class Raising:
    """A channel that raises at its second question, as a signal handler would while a job waits."""

    def __init__(self) -> None:
        self.questions = 0

    def is_stopped(self) -> bool:
        if threading.current_thread() is threading.main_thread():
            self.questions += 1
            if self.questions == 2:
                raise Interrupt
        return False


def open_end(end: str, port: int, opening: Opening[Any]) -> Any:
    """Open a listener for one end of a job."""
    url = f"srt://:{port}"
    return open_source(url, None, opening) if end == "source" else open_destination(url, "/no/such/source", opening)


@pytest.mark.parametrize("end", ["source", "destination"])
def test_an_exception_while_nobody_calls_ends_the_listening(end):
    port = free_port()
    opening: Opening[Any] = Opening(Raising())

    with pytest.raises(Interrupt):
        open_end(end, port, opening)
    opening.close()

    await_the_end_of_threads()
    check_nobody_listens(port)


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_stop_in_the_instant_a_peer_came_leaves_nobody_listening(end):
    port = free_port()
    peers = []

    def call_it() -> None:
        peers.append(open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel()))
        if end == "source":
            # It is open once its peer has sent something.
            peers[0].send(b"<tt/>")

    assert open_end(end, port, Opening(StoppedMeanwhile(call_it))) is None

    await_the_end_of_threads()
    assert peers[0].receive(10_000) == b""
    peers[0].close()
    check_nobody_listens(port)
