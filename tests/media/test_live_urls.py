"""Live URLs FFmpeg opens by itself: UDP, TCP, RTMP; silence, refusal, a stop."""

import socket
import subprocess
from contextlib import contextmanager

import pytest

from mcai_worker_sdk.errors import MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.media.addresses import is_live_url
from mcai_worker_sdk.media.sources import live
from mcai_worker_sdk.media.sources.live import open_live_source
from tests.media.live_support import InThread, count_frames, ffmpeg_sender, free_port, make_channel, make_clip
from tests.media.support import NotingWorker, make_session


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("live") / "clip.ts", seconds=2)


@pytest.mark.parametrize(
    ("url", "is_live"),
    [
        ("srt://:9000", True),
        ("SRT://h:9000", True),
        ("udp://239.0.0.1:5000", True),
        ("rtsp://camera/1", True),
        ("rtmp://server/live/key", True),
        ("https://server/file.mp4", False),
        ("/media/file.mp4", False),
        ("file:///media/file.mp4", False),
    ],
)
def test_a_url_is_live_by_its_scheme(url, is_live):
    assert is_live_url(url) is is_live


@contextmanager
def tcp_server(data: bytes, *, hold: bool):
    """Sends data to one client, then closes, or holds the connection without a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        clients = []

        def serve():
            client, _ = server.accept()
            clients.append(client)
            client.sendall(data)
            if not hold:
                client.close()

        serving = InThread(serve)
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
            serving.result()
        finally:
            for client in clients:
                client.close()


def test_a_live_job_over_tcp_completes_when_the_server_closes(clip, tmp_path):
    worker = NotingWorker()
    with tcp_server(clip.read_bytes(), hold=False) as url:
        session = make_session(worker, url, tmp_path / "out.json")[0]
        session.open()
        session.run()

    expected = count_frames(clip)
    assert worker.context.duration is None
    assert [len(worker.frames[index]) for index in (0, 1)] == [expected["video"], expected["audio"]]


def test_an_rtmp_server_is_read(clip):
    port = free_port()
    command = ["ffmpeg", "-v", "error", "-re", "-i", str(clip), "-c", "copy", "-bsf:a", "aac_adtstoasc", "-f", "flv"]
    server = subprocess.Popen([*command, "-listen", "1", f"rtmp://127.0.0.1:{port}/live/key"], stdin=subprocess.DEVNULL)
    try:
        source = open_when_ready(f"rtmp://127.0.0.1:{port}/live/key")
        packets = [packet for packet in source.container.demux(source.container.streams.video[0]) if packet.size]
        source.close()
    finally:
        server.kill()
        server.wait()

    assert source.is_live
    assert len(packets) == count_frames(clip)["video"]


def open_when_ready(url):
    """ffmpeg tells nobody when it listens: ask until it answers."""
    channel = make_channel()
    for _ in range(100):
        try:
            return open_live_source(url, channel=channel)
        except MediaSourceError:
            channel._stop_requested.wait(0.1)
    raise AssertionError(f"{url} never answered")


class LeavingWorker(NotingWorker):
    """Ends the sender once it has so many frames of sound."""

    def __init__(self, sender, after_frames):
        super().__init__("AUDIO", note=self.count)
        self.sender = sender
        self.missing = after_frames

    def count(self, frame):
        self.missing -= 1
        if self.missing == 0:
            self.sender.kill()
        return frame


def test_a_udp_stream_is_read_until_it_falls_silent(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LIVE_TIMEOUT_SECONDS", 2.0)
    address = ("127.0.0.1", free_port())
    url = "udp://{}:{}".format(*address)
    with ffmpeg_sender(clip, f"{url}?pkt_size=1316") as sender:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address)
            receiver.recv(1)
        worker = LeavingWorker(sender, after_frames=40)
        session = make_session(worker, url, tmp_path / "out.json")[0]
        session.open()
        with pytest.raises(MediaTimeoutError, match="silent"):
            session.run()

    assert len(worker.frames[1]) >= 40
    assert worker.endings == 1


def test_a_silent_url_is_a_time_out(monkeypatch):
    monkeypatch.setattr(live, "LIVE_TIMEOUT_SECONDS", 0.3)

    with pytest.raises(MediaTimeoutError, match="sent nothing"):
        open_live_source(f"udp://127.0.0.1:{free_port()}", channel=make_channel())


@pytest.mark.parametrize("scheme", ["tcp", "rtmp", "rtsp"])
def test_a_refused_connection_is_an_error_that_names_the_url_without_its_secrets(scheme):
    url = f"{scheme}://user:hushhush@127.0.0.1:1/key?token=hushhush"

    with pytest.raises(MediaSourceError, match=rf"'{scheme}://127.0.0.1:1.*cannot be opened") as caught:
        open_live_source(url, channel=make_channel())
    assert "hushhush" not in str(caught.value)


def test_a_stop_is_answered_while_ffmpeg_waits_for_a_silent_peer(tmp_path):
    session, channel, _ = make_session(NotingWorker(), f"udp://127.0.0.1:{free_port()}", tmp_path / "out.json")
    opening = InThread(session.open)

    channel._request_stop()

    opening.result(timeout_seconds=2)
    session.close()


def test_a_stop_is_answered_while_ffmpeg_waits_for_more(clip, tmp_path):
    worker = NotingWorker("AUDIO")
    with tcp_server(clip.read_bytes(), hold=True) as url:
        session, channel, _ = make_session(worker, url, tmp_path / "out.json")
        session.open()
        running = InThread(session.run)
        running.thread.join(0.3)
        assert running.thread.is_alive()

        channel._request_stop()

        running.result(timeout_seconds=2)
    assert worker.endings == 1
