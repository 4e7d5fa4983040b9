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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host import link
from mcai_worker_sdk.host.job_link import JobLink
from mcai_worker_sdk.host.supervised_link import SupervisedLink
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
COMMANDS: list[link.Command] = [
    link.Run(1, [{"id": "a", "type": "string", "value": "é\u2028\ud800"}]),
    link.Initialise(2, []),
    link.Start(3, []),
    link.Stop(4),
    link.Discard(5),
    link.Update(6, []),
    link.Exit(),
]
REPORTS: list[link.Report] = [
    link.Ready(),
    link.SetupFailed("no model"),
    link.Began(1),
    link.Initialised(1),
    link.Progressed(2, 100),
    link.Updated(3, None),
    link.Updated(3, "no"),
    link.Ended(RESULT),
    link.Log({"message": "x", "exception": None}),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    supervisor_end, job_end = socket.socketpair()
    yield supervisor_end, job_end
    supervisor_end.close()
    job_end.close()


def reports_in(data: bytes) -> list[link.Report]:
    return [link.decode_report(body) for body in link.FrameBuffer().feed(data)]


def read_until(sock: socket.socket, last: link.Report) -> list[link.Report]:
    """Everything up to and with ``last``."""
    buffer, reports = link.FrameBuffer(), []
    while last not in reports:
        data = sock.recv(1 << 16)
        assert data, f"The link ended after {reports}"
        reports += map(link.decode_report, buffer.feed(data))
    return reports


def fill(job_link: JobLink, job_id: int) -> int:
    """Report progressions until the socket takes no more; the last value that was waiting then."""
    value = 0
    while job_link._newest_progression is job_link._sent_progression:
        value += 1
        job_link.send_progression(job_id, value)
    return value


# Messages


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_arrives_as_it_was_sent(command: link.Command):
    (body,) = link.FrameBuffer().feed(link.encode(command))

    assert link.decode_command(body) == command


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
def test_a_report_arrives_as_it_was_sent(report: link.Report):
    assert reports_in(link.encode(report)) == [report]


def test_an_orders_parameters_arrive_as_they_were():
    parameters = (
        OrderParameter(id="a", type="string", value="x"),
        OrderParameter(id="k", type="string", value="key", store="STORE", default="d"),
        OrderParameter(id="n", type="any"),
    )

    assert link.order_parameters(link.wire_parameters(parameters)) == parameters


# Frames


@given(cuts=st.lists(st.integers(0, 300), max_size=20))
def test_frames_are_whole_however_the_stream_is_cut(cuts: list[int]):
    stream = b"".join(link.encode(report) for report in REPORTS)
    positions = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    buffer = link.FrameBuffer()
    bodies = [body for begin, end in itertools.pairwise(positions) for body in buffer.feed(stream[begin:end])]

    assert [link.decode_report(body) for body in bodies] == REPORTS


def test_a_frame_that_comes_byte_by_byte_is_given_once_it_is_whole():
    buffer = link.FrameBuffer()
    *but_last, last = link.encode(link.Stop(3))

    assert [buffer.feed(bytes([byte])) for byte in but_last] == [[]] * len(but_last)
    assert [link.decode_command(body) for body in buffer.feed(bytes([last]))] == [link.Stop(3)]


def test_a_frame_of_20_mb_passes_in_both_directions():
    text = random.Random(1).randbytes(10_000_000).hex()
    supervisor_end, job_end = link.socket_pair()
    job_link = JobLink(job_end)

    async def supervise() -> list[link.Report]:
        reports: list[link.Report] = []
        done = asyncio.Event()

        def take(report: link.Report) -> None:
            reports.append(report)
            done.set()

        supervised = SupervisedLink(supervisor_end, take)
        supervised.send(link.Run(1, [{"id": "text", "type": "string", "value": text}]))
        await asyncio.wait_for(done.wait(), 30)
        supervised.close()
        return reports

    def echo() -> None:
        command = next(job_link.commands())
        assert isinstance(command, link.Run)
        parameter = ResultParameter("text", "string", command.parameters[0]["value"])
        job_link.send(link.Ended(JobResult(1, JobState.COMPLETED, (), (parameter,))))

    thread = threading.Thread(target=echo)
    thread.start()
    (report,) = asyncio.run(supervise())
    thread.join()
    job_link.close()

    assert isinstance(report, link.Ended)
    assert report.result.parameters[0].value == text


# The job process's end


def test_a_progression_that_the_socket_takes_is_sent_at_once(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    JobLink(job_end).send_progression(1, 42)

    assert reports_in(supervisor_end.recv(1 << 16)) == [link.Progressed(1, 42)]


def test_under_back_pressure_the_newest_progression_replaces_the_others_and_goes_before_the_result(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)
    first_unsent = fill(job_link, 1)
    for value in range(first_unsent + 1, first_unsent + 1000):
        job_link.send_progression(1, value)
    ended = link.Ended(JobResult(1, JobState.COMPLETED))
    sender = threading.Thread(target=job_link.send, args=(ended,))
    sender.start()

    reports = read_until(supervisor_end, ended)
    sender.join()

    values = [report.progression for report in reports if isinstance(report, link.Progressed)]
    assert values == [*range(1, first_unsent), first_unsent + 999]
    assert reports[-1] == ended


def test_a_progression_waits_for_no_thread_that_waits_for_the_supervisor(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)
    log = link.Log({"message": "x" * 5_000_000})
    logger = threading.Thread(target=lambda: job_link.send(log) and job_link.send(link.Initialised(1)))
    logger.start()
    supervisor_end.recv(1, socket.MSG_PEEK)

    # The logger holds the link in the middle of its frame; this returns all the same.
    job_link.send_progression(1, 10)
    job_link.send_progression(1, 20)
    reports = read_until(supervisor_end, link.Initialised(1))
    logger.join()

    # Whether there was room for it behind the frame or not: it comes before anything that follows.
    assert reports == [log, link.Progressed(1, 20), link.Initialised(1)]


def test_a_progression_that_the_socket_took_in_part_is_finished_by_what_follows():
    sent: list[bytes] = []

    class Stingy:
        """Takes ten bytes, then nothing without waiting."""

        def settimeout(self, seconds: float | None) -> None: ...

        def send(self, data: bytes, _flags: int) -> int:
            if sent:
                raise BlockingIOError
            sent.append(data[:10])
            return 10

        def sendall(self, data: bytes) -> None:
            sent.append(data)

    job_link = JobLink(Stingy())  # type: ignore[arg-type]
    job_link.send_progression(1, 1)
    job_link.send_progression(1, 2)
    job_link.send_progression(1, 3)
    job_link.send(link.Initialised(1))

    assert reports_in(b"".join(sent)) == [link.Progressed(1, 1), link.Progressed(1, 3), link.Initialised(1)]


def test_a_signal_handler_that_reports_while_its_thread_sends_does_not_hang():
    job_link: JobLink
    sent: list[bytes] = []

    class Interrupted:
        def settimeout(self, seconds: float | None) -> None: ...

        def send(self, data: bytes, _flags: int) -> int:
            sent.append(data)
            if len(sent) == 1:
                job_link.send(link.Log({"message": "from the handler"}))
            return len(data)

        def sendall(self, data: bytes) -> None:
            sent.append(data)

    job_link = JobLink(Interrupted())  # type: ignore[arg-type]
    job_link.send_progression(1, 1)

    assert reports_in(b"".join(sent)) == [link.Progressed(1, 1), link.Log({"message": "from the handler"})]


def test_reports_of_several_threads_stay_whole(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    job_link = JobLink(job_end)

    def work(thread: int) -> None:
        for number in range(100):
            job_link.send(link.Log({"message": f"{thread}-{number}" * 100}))
            job_link.send_progression(thread, number)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    closer = threading.Thread(target=lambda: ([thread.join() for thread in threads], job_link.send(link.Ready())))
    closer.start()
    reports = read_until(supervisor_end, link.Ready())
    closer.join()

    messages = [report.record["message"] for report in reports if isinstance(report, link.Log)]
    assert sorted(messages) == sorted(f"{thread}-{number}" * 100 for thread in range(4) for number in range(100))


def test_a_report_to_a_supervisor_that_is_gone_is_known_to_be_lost(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervisor_end.close()
    job_link = JobLink(job_end)

    assert job_link.send(link.Ready()) is False
    job_link.send_progression(1, 50)
    assert list(job_link.commands()) == []


#: Four processes write large reports into one link; a thread of the first is in the middle of one at each fork.
FORKING = """
import os, socket, sys, threading
from mcai_worker_sdk.host import link
from mcai_worker_sdk.host.job_link import JobLink
job_link = JobLink(socket.socket(fileno=int(sys.argv[1])))
job_link.share_with_forks()

def work(origin):
    for number in range(20):
        job_link.send(link.Log({"message": f"{origin}-{number} " * 20_000}))
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
job_link.send(link.Ready())
"""


def test_large_reports_of_forked_copies_stay_whole(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    fd = job_end.fileno()
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", FORKING, str(fd)], pass_fds=[fd]) as forking:
        reports = read_until(supervisor_end, link.Ready())

    messages = [report.record["message"].split()[0] for report in reports if isinstance(report, link.Log)]
    assert sorted(messages) == sorted(f"{origin}-{number}" for origin in (0, 1, 2, "p") for number in range(20))
    assert forking.returncode == 0


def test_commands_end_with_the_link(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervisor_end.sendall(b"".join(link.encode(command) for command in COMMANDS))
    supervisor_end.close()

    assert list(JobLink(job_end).commands()) == COMMANDS


def test_no_socket_left_is_a_host_error(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(socket, "socketpair", refuse)

    with pytest.raises(HostError, match=r"The link to the job process cannot be made: .*Too many open files"):
        link.socket_pair()


# The supervisor's end


async def test_commands_that_the_socket_does_not_take_follow_in_order(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervised = SupervisedLink(supervisor_end, lambda _report: None)
    big = link.Run(1, [{"id": "x", "type": "string", "value": "x" * 3_000_000}])
    sent = [big, link.Stop(1), big, link.Exit()]
    for command in sent:
        supervised.send(command)

    def read() -> list[link.Command]:
        commands = []
        for command in JobLink(job_end).commands():
            commands.append(command)
            if isinstance(command, link.Exit):
                break
        return commands

    received = await asyncio.wait_for(asyncio.to_thread(read), 30)
    supervised.close()

    assert received == sent


async def test_a_report_handler_that_fails_does_not_hear_the_same_report_again(
    ends: tuple[socket.socket, socket.socket],
):
    supervisor_end, job_end = ends
    heard: list[link.Report] = []
    failed, heard_again = asyncio.Event(), asyncio.Event()

    def take(report: link.Report) -> None:
        heard.append(report)
        if len(heard) == 1:
            raise RuntimeError("broken")
        heard_again.set()

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())
    supervised = SupervisedLink(supervisor_end, take)
    job_link = JobLink(job_end)
    job_link.send(link.Ready())
    await asyncio.wait_for(failed.wait(), 30)
    job_link.send(link.Initialised(1))
    await asyncio.wait_for(heard_again.wait(), 30)
    supervised.close()

    assert heard == [link.Ready(), link.Initialised(1)]


async def test_after_its_end_a_link_takes_commands_and_drops_them(ends: tuple[socket.socket, socket.socket]):
    supervisor_end, job_end = ends
    supervised = SupervisedLink(supervisor_end, lambda _report: None)
    job_end.close()
    supervised.send(link.Stop(1))
    supervised.drain()
    supervised.send(link.Stop(1))
    supervised.close()
    supervised.close()
    supervised.send(link.Stop(1))

    assert supervisor_end.fileno() == -1
