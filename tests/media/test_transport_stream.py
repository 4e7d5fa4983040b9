"""A transport stream is known by its sync bytes, wherever in a packet its first byte lies."""

import random

import pytest

from mcai_worker_sdk.media.sources.transport_stream import HEAD_BYTES, recognise
from mcai_worker_sdk.media.srt import open_connection, parse_srt_url
from tests.media.live_support import InThread, count_frames, free_port, make_channel, make_clip
from tests.media.support import NotingWorker, make_session


def stream_of(packet_bytes: int) -> bytes:
    """A stream whose payload is noise."""
    noise = random.Random(7)
    plain = 188
    before, behind = {188: (0, 0), 192: (4, 0), 204: (0, 16)}[packet_bytes]
    return b"".join(
        noise.randbytes(before) + b"\x47" + noise.randbytes(plain - 1) + noise.randbytes(behind) for _ in range(20)
    )


@pytest.mark.parametrize("packet_bytes", [188, 192, 204])
def test_a_stream_is_known_wherever_it_begins(packet_bytes):
    stream = stream_of(packet_bytes)

    for start in range(2 * packet_bytes):
        assert recognise(stream[start : start + HEAD_BYTES]) == "transport stream"


def test_more_is_asked_for_while_a_cut_packet_may_be_one():
    stream = stream_of(188)[10:]

    assert recognise(stream[:5]) == "unclear"
    assert recognise(stream[:188]) == "unclear"
    assert recognise(stream[: 4 * 188]) == "unclear"
    assert recognise(stream[: 5 * 188]) == "transport stream"


@pytest.mark.parametrize(
    "head",
    [
        b"<tt/>",
        b"\xef\xbb\xbf<tt>GG",
        b" \r\n{",
        b"[",
        "été G\n".encode(),
        "caf\xe9".encode()[:-1],
        b"<?xml version='1.0' encoding='utf-16'?>".decode().encode("utf-16-le"),
        random.Random(7).randbytes(204).replace(b"\x47", b"\0"),
        random.Random(7).randbytes(HEAD_BYTES),
    ],
)
def test_what_is_none_is_known_at_once(head):
    assert recognise(head) == "other"


@pytest.mark.parametrize(("skipped_bytes", "message_bytes"), [(100, 1316), (188 * 3 + 5, 1456), (10, 188), (50, 100)])
def test_a_peer_that_begins_inside_a_packet_is_heard(tmp_path, skipped_bytes, message_bytes):
    cut = tmp_path / "cut.ts"
    cut.write_bytes(make_clip(tmp_path / "clip.ts").read_bytes()[skipped_bytes:])
    data = cut.read_bytes()
    port = free_port()
    worker = NotingWorker()
    session, _, _ = make_session(worker, f"srt://:{port}", tmp_path / "results.json")

    def run() -> object:
        session.open()
        return session.run()

    running = InThread(run)
    peer = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    assert peer is not None
    for start in range(0, len(data), message_bytes):
        peer.send(data[start : start + message_bytes])
    peer.drain()
    peer.close()
    running.result()

    assert worker.context is not None
    assert worker.context.format_name == "mpegts"
    assert {"video": len(worker.frames[0]), "audio": len(worker.frames[1])} == count_frames(cut)
