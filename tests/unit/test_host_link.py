"""The link between supervisor and job process: frames, and a job's end of it that never makes a progression wait."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import frames, messages
from mcai_worker_sdk.host.link.job_end import JobLink
from mcai_worker_sdk.host.link.supervisor_end import SupervisedLink
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter

RESULT = JobResult(
    7,
    JobState.COMPLETED,
    ("/out/données.json", "/out/\udcff"),
    (ResultParameter("n", "integer", 2**80), ResultParameter("o", "object", {"a": [None, 1.5]}, store="S", default=3)),
    execution_duration_seconds=1.25,
    cpu_time_seconds=0.5,
)
PARAMETERS = (
    OrderParameter(id="a", type="string", value="é\u2028"),
    OrderParameter(id="k", type="string", value="key", store="STORE", default="d"),
    OrderParameter(id="n", type="any"),
)
COMMANDS: list[messages.ToJobProcess] = [
    cmd.RunJob(1, PARAMETERS),
    cmd.InitialiseJob(2, ()),
    cmd.StartJob(3, ()),
    cmd.StopJob(4),
    cmd.DiscardJob(5),
    cmd.UpdateJob(6, ()),
    messages.Exit(),
]
REPORTS: list[messages.Report] = [
    messages.Arrived(),
    ev.HostReady(),
    ev.HostFailed("no model"),
    messages.Began(1),
    ev.JobInitialised(1),
    ev.ProgressionReported(2, 100),
    ev.JobUpdated(3, None),
    ev.JobUpdated(3, "no"),
    ev.JobEnded(RESULT),
    messages.Log({"message": "x", "exception": None}),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    supervisor_end, job_end = messages.socket_pair()
    yield supervisor_end, job_end
    supervisor_end.close()
    job_end.close()


def packed(message: messages.ToJobProcess | messages.Report, writer: frames.FrameWriter | None = None) -> bytes:
    """All packets of a message."""
    return b"".join((writer or frames.FrameWriter()).packets(messages.encode(message)))


def reports_in(data: bytes) -> list[messages.Report]:
    return [messages.decode_report(frame) for frame in frames.FrameReader().feed(data)]


def read_until(sock: socket.socket, last: messages.Report) -> list[messages.Report]:
    """Everything up to and with ``last``."""
    reader, reports = frames.FrameReader(), []
    while last not in reports:
        data = sock.recv(1 << 16)
        assert data, f"The link ended after {reports}"
        reports += map(messages.decode_report, reader.feed(data))
    return reports


def give_up(error: HostError) -> None:
    """What no supervised link of these tests should call, but for those that say so."""
    raise error


def fill(job_link: JobLink, job_id: int) -> int:
    """Report progressions until the socket takes no more; the last value that was waiting then."""
    value = 0
    while job_link._newest_progression is job_link._sent_progression:
        value += 1
        job_link.send_progression(job_id, value)
    return value


# Messages


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_arrives_as_it_was_sent(command: messages.ToJobProcess):
    (frame,) = frames.FrameReader().feed(packed(command))

    assert messages.decode_command(frame) == command


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
def test_a_report_arrives_as_it_was_sent(report: messages.Report):
    assert reports_in(packed(report)) == [report]


# Frames


@given(cuts=st.lists(st.integers(0, 300), max_size=20))
def test_frames_are_whole_however_the_stream_is_cut(cuts: list[int]):
    stream = b"".join(packed(report) for report in REPORTS)
    positions = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    reader = frames.FrameReader()
    whole = [frame for begin, end in itertools.pairwise(positions) for frame in reader.feed(stream[begin:end])]

    assert [messages.decode_report(frame) for frame in whole] == REPORTS


def test_a_frame_that_comes_byte_by_byte_is_given_once_it_is_whole():
    reader = frames.FrameReader()
    *but_last, last = packed(cmd.StopJob(3))

    assert [reader.feed(bytes([byte])) for byte in but_last] == [[]] * len(but_last)
    assert [messages.decode_command(frame) for frame in reader.feed(bytes([last]))] == [cmd.StopJob(3)]


def test_packets_of_several_writers_may_come_in_any_order_between_each_other():
    reports = [messages.Log({"message": str(number) * 100_000}) for number in range(3)]
    ours, theirs = frames.FrameWriter(), frames.FrameWriter()
    # Two frames of one writer at once too: a signal handler may log while its thread does.
    packets = [
        list(writer.packets(messages.encode(report)))
        for writer, report in zip((ours, ours, theirs), reports, strict=True)
    ]
    reader = frames.FrameReader()
    whole = [frame for turn in zip(*packets, strict=True) for packet in turn for frame in reader.feed(packet)]

    assert [messages.decode_report(frame) for frame in whole] == reports


def test_a_frame_that_never_ends_is_in_nobodys_way():
    first, *_rest = frames.FrameWriter().packets(messages.encode(messages.Log({"message": "x" * 100_000})))
    reader = frames.FrameReader()

    assert reader.feed(first) == []
    assert [messages.decode_report(frame) for frame in reader.feed(packed(ev.HostReady()))] == [ev.HostReady()]


@pytest.mark.parametrize(
    "data", [b"hello\n", b"\xf5", b"\0" * 100, packed(ev.HostReady()) + b"\n", packed(ev.HostReady())[1:]], ids=repr
)
def test_what_no_link_wrote_is_refused(data: bytes):
    reader = frames.FrameReader()

    with pytest.raises(
        HostError, match=r"The job link brought b.*; expected what the SDK itself writes to it\. Look for"
    ):
        reader.feed(data + b"and more, so that a head is there")


@pytest.mark.parametrize(
    "frame",
    [b"", b"{", b"5", b'["Ready"]', b'["Nothing",{}]', b'["Progressed",{}]', b'["Ended",{"result":5}]', b"\xff"],
)
def test_a_frame_that_is_no_report_is_refused(frame: bytes):
    with pytest.raises(HostError, match="expected what the SDK itself writes to it"):
        messages.decode_report(frame)


def test_unfinished_frames_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "LIMIT_BYTES", 100_000)
    reader = frames.FrameReader()
    begun = [next(iter(frames.FrameWriter().packets(b"x" * 40_000))) for _ in range(4)]
    for packet in begun[:3]:
        reader.feed(packet)

    with pytest.raises(HostError, match="brought 131072 bytes of unfinished messages; expected at most 100000"):
        reader.feed(begun[3])


def test_a_report_that_is_too_long_is_refused_where_it_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "LIMIT_BYTES", 1000)

    with pytest.raises(
        HostError, match=r"The message Log of the job process has 2\d{3} bytes; expected at most 1000\."
    ):
        messages.encode(messages.Log({"message": "x" * 2000}))


def test_a_frame_of_20_mb_passes_in_both_directions():
    text = random.Random(1).randbytes(10_000_000).hex()
    supervisor_end, job_end = messages.socket_pair()
    job_link = JobLink(job_end)

    async def supervise() -> list[messages.Report]:
        reports: list[messages.Report] = []
        done = asyncio.Event()

        def take(report: messages.Report) -> None:
            reports.append(report)
            done.set()

        supervised = SupervisedLink(supervisor_end, take, give_up)
        supervised.send(cmd.RunJob(1, (OrderParameter(id="text", type="string", value=text),)))
        await asyncio.wait_for(done.wait(), 30)
        supervised.close()
        return reports

    def echo() -> None:
        command = next(job_link.commands())
        assert isinstance(command, cmd.RunJob)
        parameter = ResultParameter("text", "string", command.parameters[0].value)
        job_link.send(ev.JobEnded(JobResult(1, JobState.COMPLETED, (), (parameter,))))

    thread = threading.Thread(target=echo)
    thread.start()
    (report,) = asyncio.run(supervise())
    thread.join()
    job_link.close()

    assert isinstance(report, ev.JobEnded)
    assert report.result.parameters[0].value == text


# The job process's end


def test_a_progression_that_the_socket_takes_is_sent_at_once(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    JobLink(job_end).send_progression(1, 42)

    assert reports_in(supervisor_end.recv(1 << 16)) == [ev.ProgressionReported(1, 42)]


def test_under_back_pressure_the_newest_progression_replaces_the_others_and_goes_before_the_result(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)
    first_unsent = fill(job_link, 1)
    for value in range(first_unsent + 1, first_unsent + 1000):
        job_link.send_progression(1, value)
    ended = ev.JobEnded(JobResult(1, JobState.COMPLETED))
    sender = threading.Thread(target=job_link.send, args=(ended,))
    sender.start()

    reports = read_until(supervisor_end, ended)
    sender.join()

    values = [report.progression for report in reports if isinstance(report, ev.ProgressionReported)]
    assert values == [*range(1, first_unsent), first_unsent + 999]
    assert reports[-1] == ended


def test_a_progression_waits_for_no_thread_that_waits_for_the_supervisor(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)
    log = messages.Log({"message": "x" * 5_000_000})
    logger = threading.Thread(target=lambda: job_link.send(log) and job_link.send(ev.JobInitialised(1)))
    logger.start()
    supervisor_end.recv(1, socket.MSG_PEEK)

    # The logger holds the link in the middle of its frame; this returns all the same.
    job_link.send_progression(1, 10)
    job_link.send_progression(1, 20)
    reports = read_until(supervisor_end, ev.JobInitialised(1))
    logger.join()

    # Whether there was room for it behind the frame or not: it comes before anything that follows.
    assert reports == [log, ev.ProgressionReported(1, 20), ev.JobInitialised(1)]


def test_a_progression_that_the_socket_took_in_part_is_finished_at_once():
    class Stingy(socket.socket):
        """Takes ten bytes of a packet without waiting."""

        def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
            return super().send(data[:10], flags)

    # A kind of socket that may do so.
    supervisor_end, job_end = socket.socketpair(type=socket.SOCK_STREAM)
    with supervisor_end, Stingy(fileno=job_end.detach()) as stingy:
        job_link = JobLink(stingy)
        job_link.send_progression(1, 1)
        job_link.send_progression(1, 2)

        assert read_until(supervisor_end, ev.ProgressionReported(1, 2)) == [
            ev.ProgressionReported(1, 1),
            ev.ProgressionReported(1, 2),
        ]


def test_a_signal_handler_that_reports_while_its_thread_sends_neither_hangs_nor_tears_a_frame(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    job_link: JobLink
    from_handler = [messages.Log({"message": f"{number} " * 50_000}) for number in range(2)]
    waiting = list(from_handler)

    class Interrupted(socket.socket):
        def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
            super().sendall(data, flags)
            if waiting:
                job_link.send(waiting.pop())

    interrupted = Interrupted(fileno=os.dup(job_end.fileno()))
    job_link = JobLink(interrupted)
    own = messages.Log({"message": "x" * 100_000})
    with interrupted:
        sender = threading.Thread(target=lambda: job_link.send(own) and job_link.send(ev.HostReady()))
        sender.start()
        reports = read_until(supervisor_end, ev.HostReady())
        sender.join()

    assert sorted(map(repr, reports)) == sorted(map(repr, [own, *from_handler, ev.HostReady()]))


def test_reports_of_several_threads_stay_whole(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)

    def work(thread: int) -> None:
        for number in range(100):
            job_link.send(messages.Log({"message": f"{thread}-{number}" * 100}))
            job_link.send_progression(thread, number)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    closer = threading.Thread(target=lambda: ([thread.join() for thread in threads], job_link.send(ev.HostReady())))
    closer.start()
    reports = read_until(supervisor_end, ev.HostReady())
    closer.join()

    texts = [report.record["message"] for report in reports if isinstance(report, messages.Log)]
    assert sorted(texts) == sorted(f"{thread}-{number}" * 100 for thread in range(4) for number in range(100))


def test_a_report_to_a_supervisor_that_is_gone_is_known_to_be_lost(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervisor_end.close()
    job_link = JobLink(job_end)

    assert job_link.send(ev.HostReady()) is False
    job_link.send_progression(1, 50)
    assert list(job_link.commands()) == []


#: Four processes write large reports into one link; a thread of the first is in the middle of one at each fork.
FORKING = """
import os, socket, sys, threading
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.host.link.job_end import JobLink
job_link = JobLink(socket.socket(fileno=int(sys.argv[1])))

def work(origin):
    for number in range(20):
        job_link.send(messages.Log({"message": f"{origin}-{number} " * 20_000}))
        job_link.send_progression(1, number)

thread = threading.Thread(target=work, args=("p",))
thread.start()
copies = []
for copy in range(3):
    pid = os.fork()
    if pid == 0:
        grandchild = os.fork() if copy == 0 else None
        if grandchild != 0:
            work(copy)
        if grandchild:
            os.waitpid(grandchild, 0)
        os._exit(0)
    copies.append(pid)
thread.join()
for pid in copies:
    os.waitpid(pid, 0)
job_link.send(ev.HostReady())
"""


def test_large_reports_of_forked_copies_stay_whole(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    fd = job_end.fileno()
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", FORKING, str(fd)], pass_fds=[fd]) as forking:
        reports = read_until(supervisor_end, ev.HostReady())

    texts = [report.record["message"].split()[0] for report in reports if isinstance(report, messages.Log)]
    assert sorted(texts) == sorted(f"{origin}-{number}" for origin in (0, 1, 2, "p") for number in range(20))
    assert forking.returncode == 0


#: Children are killed wherever they are in their frames, again and again, while their parent logs too.
KILLING = """
import os, signal, socket, sys, time
from mcai_worker_sdk.host.link import messages
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.host.link.job_end import JobLink
job_link = JobLink(socket.socket(fileno=int(sys.argv[1])))
for number in range(30):
    pid = os.fork()
    if pid == 0:
        while True:
            job_link.send(messages.Log({"message": "child " * 50_000}))
    job_link.send(messages.Log({"message": f"parent-{number} " * 20_000}))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
job_link.send(ev.HostReady())
"""


def test_children_that_are_killed_in_the_middle_of_a_frame_harm_nobody(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    fd = job_end.fileno()
    with subprocess.Popen([sys.executable, "-c", KILLING, str(fd)], pass_fds=[fd]) as killing:
        reports = read_until(supervisor_end, ev.HostReady())

    words = [report.record["message"].split() for report in reports if isinstance(report, messages.Log)]
    assert {len(set(line)) for line in words} == {1}
    assert [line[0] for line in words if line[0] != "child"] == [f"parent-{number}" for number in range(30)]
    assert killing.returncode == 0


def test_a_descriptor_that_user_code_closed_and_that_is_somebody_elses_now_is_neither_written_nor_read(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
):
    _, job_end = ends
    job_link = JobLink(socket.socket(fileno=os.dup(job_end.fileno())))
    number = job_link._socket.fileno()
    theirs, others = messages.socket_pair()
    with theirs, others:
        others.sendall(packed(messages.Exit()))
        # What ``os.closerange()`` and a socket opened after it come to.
        os.dup2(theirs.fileno(), number)
        others.setblocking(False)

        assert job_link.send(ev.HostReady()) is False
        job_link.send_progression(1, 50)
        assert list(job_link.commands()) == []
        with pytest.raises(BlockingIOError):
            others.recv(1)
    job_link.close()


def test_commands_end_with_the_link(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    for command in COMMANDS:
        supervisor_end.sendall(packed(command))
    supervisor_end.close()

    assert list(JobLink(job_end).commands()) == COMMANDS


def test_no_socket_left_is_a_host_error(monkeypatch: pytest.MonkeyPatch):
    def refuse(**_kind: object) -> None:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(socket, "socketpair", refuse)

    with pytest.raises(HostError, match=r"The link to the job process cannot be made: .*Too many open files"):
        messages.socket_pair()


# The supervisor's end


async def test_commands_that_the_socket_does_not_take_follow_in_order(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervised = SupervisedLink(supervisor_end, lambda _report: None, give_up)
    big = cmd.RunJob(1, (OrderParameter(id="x", type="string", value="x" * 3_000_000),))
    sent = [big, cmd.StopJob(1), big, messages.Exit()]
    for command in sent:
        supervised.send(command)

    def read() -> list[messages.ToJobProcess]:
        commands = []
        for command in JobLink(job_end).commands():
            commands.append(command)
            if isinstance(command, messages.Exit):
                break
        return commands

    received = await asyncio.wait_for(asyncio.to_thread(read), 30)
    supervised.close()

    assert received == sent


async def test_a_report_handler_that_fails_does_not_hear_the_same_report_again(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    heard: list[messages.Report] = []
    failed, heard_again = asyncio.Event(), asyncio.Event()

    def take(report: messages.Report) -> None:
        heard.append(report)
        if len(heard) == 1:
            raise RuntimeError("broken")
        heard_again.set()

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())
    supervised = SupervisedLink(supervisor_end, take, give_up)
    job_link = JobLink(job_end)
    job_link.send(ev.HostReady())
    await asyncio.wait_for(failed.wait(), 30)
    job_link.send(ev.JobInitialised(1))
    await asyncio.wait_for(heard_again.wait(), 30)
    supervised.close()

    assert heard == [ev.HostReady(), ev.JobInitialised(1)]


async def test_after_its_end_a_link_takes_commands_and_drops_them(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervised = SupervisedLink(supervisor_end, lambda _report: None, give_up)
    job_end.close()
    supervised.send(cmd.StopJob(1))
    supervised.drain()
    supervised.send(cmd.StopJob(1))
    supervised.close()
    supervised.close()
    supervised.send(cmd.StopJob(1))

    assert supervisor_end.fileno() == -1


async def test_what_cannot_be_read_is_told_once_and_nothing_is_read_after_it(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    heard: list[messages.Report] = []
    told: asyncio.Queue[HostError] = asyncio.Queue()
    supervised = SupervisedLink(supervisor_end, heard.append, told.put_nowait)
    for data in (
        packed(ev.HostReady()),
        b"a line that somebody printed\n",
        packed(ev.JobInitialised(1)),
        b"another\n",
    ):
        job_end.sendall(data)
    error = await asyncio.wait_for(told.get(), 30)
    supervised.drain()
    supervised.close()

    assert "b'a line that somebody printed\\n'" in str(error)
    assert heard == [ev.HostReady()]
    assert told.empty()


async def test_a_flood_of_reports_leaves_the_loop_its_turns(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)
    stop = threading.Event()
    turns = asyncio.Event()
    supervised = SupervisedLink(supervisor_end, lambda _report: None, give_up)

    def flood() -> None:
        while not stop.is_set():
            job_link.send(messages.Log({"message": "x"}))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for _ in range(20):
            asyncio.get_running_loop().call_soon(turns.set)
            await asyncio.wait_for(turns.wait(), 30)
            turns.clear()
    finally:
        stop.set()
        # The flood may wait for room.
        supervised.drain()
        await asyncio.to_thread(flooding.join)
        supervised.close()
