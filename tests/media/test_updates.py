"""Updates of a media job: one at a time between init_process and ending_process, never beside a batch, or refused."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import pytest

from mcai_worker_sdk.errors import JobError, MediaFilterError
from mcai_worker_sdk.media import DataStreamDescriptor, VideoStreamDescriptor
from mcai_worker_sdk.media import session as session_module
from mcai_worker_sdk.media.turns import WorkerTurns
from tests.media.live_support import InThread
from tests.media.support import NotingWorker, make_session

DEADLINE_SECONDS = 20.0


class Updatable:
    """Keep the order of its calls; refuse what is above 10. What a subclass does meanwhile goes into the hooks."""

    descriptor = DataStreamDescriptor(0)

    def __init__(self):
        self.log = []

    def in_init(self):
        """While ``init_process`` runs."""

    def in_batch(self):
        """While a batch is processed."""

    def init_process(self, context, parameters):
        self.in_init()
        self.log.append(("init", parameters))
        return [self.descriptor]

    def process_frames(self, job_id, stream_index, items):
        self.in_batch()
        self.log.append("frames")

    def update_process(self, parameters):
        if parameters > 10:
            raise ValueError("at most 10")
        self.log.append(("update", parameters))

    def ending_process(self):
        self.log.append("ending")


def stands_in_line(turns, caller):
    """Wait until a call has the next turn of the worker, or has ended. A lock tells nobody who waits for it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while caller.thread.is_alive() and turns._next.acquire(blocking=False):
        turns._next.release()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return caller


def updating(session, level):
    """Update in a thread of its own, which has come to where it has to wait."""
    return stands_in_line(session._calls.turns, InThread(lambda: session.update(level)))


def cues(tmp_path, count):
    """Subtitles: almost nothing happens between two batches of them."""
    path = tmp_path / "cues.srt"
    cue = "{0}\n00:00:{0:02},000 --> 00:00:{0:02},500\ncue\n\n"
    path.write_text("".join(cue.format(number) for number in range(1, count + 1)))
    return path


class HeldSource:
    """A source that does not open until its peer is there, as with SRT."""

    def __init__(self):
        self.is_asked = threading.Event()
        self.peer = threading.Event()
        self.open = session_module.open_source

    def __call__(self, url, hwaccel, channel):
        self.is_asked.set()
        while not self.peer.wait(0.01):
            if channel.is_stopped():
                return None
        return self.open(url, hwaccel, channel)


@pytest.fixture
def held_source(monkeypatch):
    source = HeldSource()
    monkeypatch.setattr(session_module, "open_source", source)
    return source


def test_an_update_reaches_the_worker_between_two_batches(media_files, tmp_path):
    busy = threading.Lock()
    updates = []

    class Watching(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            with busy:
                if not self.calls:
                    updater.start()
                super().process_frames(job_id, stream_index, frames)

        def update_process(self, parameters):
            assert busy.acquire(blocking=False)
            updates.append(parameters)
            busy.release()

    session, _, _ = make_session(Watching("VIDEO"), media_files("h264_bframes.mp4"), tmp_path / "out.json")
    updater = threading.Thread(target=session.update, args=({"level": 2},))
    session.open()
    session.run()
    updater.join()
    assert updates == [{"level": 2}]


def test_an_update_of_a_worker_without_the_method_is_refused(media_files, tmp_path):
    session, _, _ = make_session(NotingWorker(), media_files("odd.mkv"), tmp_path / "out.json")
    with pytest.raises(JobError, match="Job 7 cannot be updated: the worker has no method update_process"):
        session.update({})


def test_an_update_waits_for_the_batch_in_hand_and_for_no_other(tmp_path):
    class Busy(Updatable):
        def in_batch(self):
            if "frames" not in self.log:
                updaters.append(updating(session, 2))

    updaters = []
    worker = Busy()
    session, _, _ = make_session(worker, cues(tmp_path, 30), tmp_path / "out.json")
    session.open()
    session.run()
    updaters[0].result()
    assert worker.log == [("init", None), "frames", ("update", 2), *["frames"] * 29, "ending"]


def test_who_waits_for_the_worker_has_it_before_who_gives_it_back_and_asks_again():
    def update():
        with turns:
            order.append("update")

    turns = WorkerTurns()
    order = []
    with turns:
        updater = stands_in_line(turns, InThread(update))
    with turns:
        order.append("batch")
    updater.result()
    assert order == ["update", "batch"]


def test_who_has_the_worker_may_call_it_again_while_another_waits():
    def update():
        with turns:
            order.append("update")

    def call():
        with turns:
            updaters.append(stands_in_line(turns, InThread(update)))
            with turns:
                order.append("within")

    turns = WorkerTurns()
    order, updaters = [], []
    InThread(call).result()
    updaters[0].result()
    assert order == ["within", "update"]


def test_an_update_during_init_process_comes_before_the_first_batch(tmp_path):
    class Preparing(Updatable):
        def in_init(self):
            updaters.append(updating(session, 2))

    updaters = []
    worker = Preparing()
    session, _, _ = make_session(worker, cues(tmp_path, 3), tmp_path / "out.json")
    session.open()
    session.run()
    updaters[0].result()
    assert worker.log == [("init", None), ("update", 2), *["frames"] * 3, "ending"]


@pytest.mark.parametrize("level", [2, 99])
def test_an_update_while_the_job_waits_for_its_source_comes_after_init_process(tmp_path, held_source, level):
    worker = Updatable()
    session, _, _ = make_session(worker, cues(tmp_path, 2), tmp_path / "out.json")

    def job():
        session.open()
        session.run()

    running = InThread(job)
    assert held_source.is_asked.wait(DEADLINE_SECONDS)
    updater = updating(session, level)
    assert worker.log == []
    held_source.peer.set()
    running.result()
    with pytest.raises(ValueError, match="at most 10") if level > 10 else nullcontext():
        updater.result()
    taken = [("update", 2)] if level == 2 else []
    assert worker.log == [("init", None), *taken, "frames", "frames", "ending"]


def test_an_update_that_waits_for_the_source_of_a_stopped_job_is_refused(tmp_path, held_source):
    worker = Updatable()
    session, channel, _ = make_session(worker, cues(tmp_path, 2), tmp_path / "out.json")
    running = InThread(session.open)
    assert held_source.is_asked.wait(DEADLINE_SECONDS)
    updater = updating(session, 2)
    channel._request_stop()
    running.result()
    session.close()
    with pytest.raises(JobError, match=r"^Job 7 is not running: the update is refused\.$"):
        updater.result()
    assert worker.log == []


def test_an_update_of_a_prepared_job_is_taken_at_once(tmp_path):
    worker = Updatable()
    session, _, _ = make_session(worker, cues(tmp_path, 1), tmp_path / "out.json")
    session.open()
    updating(session, 2).result()
    session.run()
    assert worker.log == [("init", None), ("update", 2), "frames", "ending"]


def test_an_update_during_the_last_batch_comes_before_ending_process(tmp_path):
    class Late(Updatable):
        def in_batch(self):
            updaters.append(updating(session, 2))

    updaters = []
    worker = Late()
    session, _, _ = make_session(worker, cues(tmp_path, 3), tmp_path / "out.json", batch_size=1000)
    session.open()
    session.run()
    updaters[0].result()
    assert worker.log == [("init", None), "frames", ("update", 2), "ending"]


@pytest.mark.parametrize("is_ending", [True, False])
def test_an_update_during_ending_process_or_after_it_is_refused(tmp_path, is_ending):
    class Ending(Updatable):
        def ending_process(self):
            if is_ending:
                updaters.append(updating(session, 2))
            super().ending_process()

    updaters = []
    worker = Ending()
    session, _, _ = make_session(worker, cues(tmp_path, 1), tmp_path / "out.json")
    session.open()
    session.run()
    if not is_ending:
        updaters.append(updating(session, 2))
    with pytest.raises(JobError, match="Job 7 is not running: the update is refused"):
        updaters[0].result()
    assert worker.log == [("init", None), "frames", "ending"]


@pytest.mark.parametrize("is_stream_wrong", [True, False])
def test_an_update_during_an_init_process_that_fails_its_job_is_refused(tmp_path, is_stream_wrong):
    class Failing(Updatable):
        descriptor = VideoStreamDescriptor(0, [])

        def in_init(self):
            updaters.append(updating(session, 2))
            if not is_stream_wrong:
                raise OSError("no model")

    updaters = []
    worker = Failing()
    session, _, _ = make_session(worker, cues(tmp_path, 1), tmp_path / "out.json")
    with pytest.raises((OSError, MediaFilterError)):
        session.open()
    with pytest.raises(JobError, match="Job 7 is not running"):
        updaters[0].result()
    session.close()
    assert ("update", 2) not in worker.log
