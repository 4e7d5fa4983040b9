"""What the live tests share: channels, free ports, clips, peers."""

import abc
import functools
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

import pytest

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.media.sources.live import LiveSource, open_live_source
from mcai_worker_sdk.media.srt import SrtConnection, open_connection, parse_srt_url

_T = TypeVar("_T")


def make_channel() -> McaiChannel:
    return McaiChannel(7, lambda _job_id, _percent: None)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def make_clip(path: Path, seconds: int = 4, video_kbits: int = 900) -> Path:
    """MPEG-TS: 25 pictures a second and 48 kHz stereo AAC."""
    sources = ["-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d={seconds}"]
    sources += ["-f", "lavfi", "-i", f"sine=440:r=48000:d={seconds}"]
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", f"{video_kbits}k", "-g", "25"]
    command = ["ffmpeg", "-v", "error", "-y", *sources, *video, "-c:a", "aac", "-ac", "2", "-f", "mpegts", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def count_frames(path: Path) -> dict[str, int]:
    """Frames of each kind, as ffprobe decodes them."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames"]
    answer = subprocess.run([*command, "-of", "csv=p=0", str(path)], check=True, capture_output=True, text=True)
    rows = {line for line in answer.stdout.split() if line}
    return {kind: int(count) for kind, count in (row.split(",")[:2] for row in rows)}


@contextmanager
def ffmpeg_sender(clip: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The ffmpeg command, which sends a clip as fast as it plays, over and over."""
    command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "mpegts", url]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def ffmpeg_srt_sender(clip: Path, url: str, pause: threading.Event | None = None) -> Iterator[None]:
    """
    The ffmpeg command, which sends a clip byte for byte over SRT, and leaves once our end has received all of it.

    Not earlier: libsrt drops what it has not sent when it is closed, from version 1.5.4 on in spite of ``linger``.

    Args:
        clip: What it sends.
        url: Where to.
        pause: When it is set the second half is sent.
    """
    data = clip.read_bytes()
    command = ["ffmpeg", "-v", "error", "-f", "data", "-i", "pipe:0", "-map", "0", "-c", "copy", "-f", "data", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    pipe, receive, received_bytes = process.stdin, SrtConnection.receive, 0

    def send() -> None:
        half = len(data) // 2
        pipe.write(data[:half])
        if pause is not None:
            pause.wait()
        pipe.write(data[half:])
        pipe.flush()

    def receive_and_count(connection: SrtConnection, timeout_ms: int | None) -> bytes | None:
        nonlocal received_bytes
        message = receive(connection, timeout_ms)
        received_bytes += len(message or b"")
        if received_bytes == len(data):
            pipe.close()
        return message

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SrtConnection, "receive", receive_and_count)
        sending = InThread(send)
        try:
            yield
        finally:
            process.kill()
            process.wait()
            if pause is not None:
                pause.set()
            sending.thread.join()
            with suppress(BrokenPipeError):
                pipe.close()


class InThread:
    """A call in a thread; ``result()`` gives what it returned or raises what it raised."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._value: object = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error

    def result(self, timeout_seconds: float = 20) -> object:
        self.thread.join(timeout_seconds)
        assert not self.thread.is_alive(), "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value


def connect_pair(
    listener_options: str = "",
    caller_options: str = "",
    channel: McaiChannel | None = None,
    port: int | None = None,
    called_port: int | None = None,
) -> tuple[SrtConnection, SrtConnection]:
    """A listener's and a caller's end of one connection."""
    port = port or free_port()
    listener_channel = channel or make_channel()
    listening = InThread(lambda: open_connection(parse_srt_url(f"srt://:{port}?{listener_options}"), listener_channel))
    try:
        caller = open_connection(
            parse_srt_url(f"srt://127.0.0.1:{called_port or port}?{caller_options}"), make_channel()
        )
    except BaseException:
        listener_channel._request_stop()
        raise
    listener = listening.result()
    assert isinstance(listener, SrtConnection)
    assert caller is not None
    return listener, caller


@contextmanager
def lossy_pair(lose_one_in: int) -> Iterator[tuple[SrtConnection, SrtConnection]]:
    """Both ends of a connection through a UDP relay that throws packets away, once the connection stands."""
    port = free_port()
    with LossyRelay(port, lose_one_in) as relay:
        listener, caller = connect_pair(port=port, called_port=relay.port)
        relay.is_losing = True
        try:
            yield listener, caller
        finally:
            relay.is_losing = False
            caller.close()
            listener.close()


class UdpRelay(abc.ABC):
    """Passes datagrams between one caller and a port of loopback."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    @abc.abstractmethod
    def passes(self, datagram: bytes, *, from_caller: bool) -> bool:
        """Whether this one goes on at once."""

    def send_to_listener(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._target)

    def _run(self) -> None:
        caller: tuple[str, int] | None = None
        while True:
            datagram, sender = self._socket.recvfrom(2048)
            if not datagram:
                return
            from_caller = sender != self._target
            if from_caller:
                caller = sender
            if not self.passes(datagram, from_caller=from_caller):
                continue
            if from_caller:
                self.send_to_listener(datagram)
            elif caller is not None:
                self._socket.sendto(datagram, caller)


class LossyRelay(UdpRelay):
    """Throws one packet in so many away."""

    def __init__(self, target_port: int, lose_one_in: int) -> None:
        super().__init__(target_port)
        self._random = random.Random(7)
        self._lose_one_in = lose_one_in
        self.is_losing = False

    def passes(self, datagram: bytes, *, from_caller: bool) -> bool:
        return not self.is_losing or self._random.randrange(self._lose_one_in) > 0


class HoldingRelay(UdpRelay):
    """Keeps back what the caller sends from :meth:`hold` to :meth:`release`, when it all arrives in one burst."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._held: list[bytes] | None = None
        self.has_data = threading.Event()
        self.has_shutdown = threading.Event()

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        assert self._held is not None
        for datagram in self._held:
            self.send_to_listener(datagram)

    def passes(self, datagram: bytes, *, from_caller: bool) -> bool:
        if self._held is None or not from_caller:
            return True
        self._held.append(datagram)
        # The SRT header: the first bit marks a control packet, the next 15 are its type; 5 is a shutdown.
        head = int.from_bytes(datagram[:2], "big")
        if head < 0x8000:
            self.has_data.set()
        elif head == 0x8005:
            self.has_shutdown.set()
        return False


@contextmanager
def open_source_from(
    url: str = "srt://:{port}", messages: Sequence[bytes] = (), *, leave: bool = False
) -> Iterator[LiveSource]:
    """A live source whose peer sends these messages, and then leaves or stays silent."""
    port = free_port()
    opening = InThread(lambda: open_live_source(url.format(port=port), channel=make_channel()))
    peer = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    assert peer is not None
    try:
        for message in messages:
            peer.send(message)
        if leave:
            peer.drain()
            peer.close()
        source = opening.result()
        assert isinstance(source, LiveSource)
        yield source
        source.close()
    finally:
        peer.close()
