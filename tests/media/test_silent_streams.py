"""Selected streams that give nothing: the job goes on without them, with or without filters, and says so."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media import AudioStreamDescriptor, VideoStreamDescriptor
from mcai_worker_sdk.media.srt import open_connection, parse_srt_url
from mcai_worker_sdk.settings import MediaSettings
from tests.media.live_support import InThread, free_port, make_channel, make_clip
from tests.media.support import NotingWorker, filters, make_session, run_job

_PACKET_BYTES = 188
#: Where ffmpeg puts the first and the second stream of a transport stream.
_VIDEO, _AUDIO = 0x100, 0x101
_CHAINS = {"VIDEO": [("scale", {"w": 16, "h": 16})], "AUDIO": [("aresample", {"sample_rate": 16000})]}


def _transport_packets(path: Path, pid: int, change: Callable[[bytes], bytes]) -> bytes:
    """A transport stream with the packets of one of its streams changed."""
    data = path.read_bytes()
    packets = (data[start : start + _PACKET_BYTES] for start in range(0, len(data), _PACKET_BYTES))
    return b"".join(
        change(packet) if int.from_bytes(packet[1:3], "big") & 0x1FFF == pid else packet for packet in packets
    )


def _scrambled(packet: bytes) -> bytes:
    payload = 4 + (packet[4] + 1 if packet[3] & 0x20 else 0)
    noise = random.Random(7).randbytes(_PACKET_BYTES)
    return packet[:3] + bytes([packet[3] | 0x80]) + packet[4:payload] + noise[payload:]


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "gave nothing" in record.getMessage()]


@pytest.mark.parametrize("change", [lambda _: b"", _scrambled], ids=["never comes", "scrambled"])
@pytest.mark.parametrize(("pid", "kind", "index"), [(_VIDEO, "VIDEO", 0), (_AUDIO, "AUDIO", 1)])
@pytest.mark.parametrize("is_filtered", [False, True])
def test_a_declared_stream_that_gives_nothing_costs_the_others_nothing(
    media_files, tmp_path, caplog, change, pid, kind, index, is_filtered
):
    source = tmp_path / "source.ts"
    source.write_bytes(_transport_packets(media_files("h264.ts"), pid, change))
    other = 1 - index

    class Filtering(NotingWorker):
        def init_process(self, context, parameters):
            descriptors = super().init_process(context, parameters)
            chain = filters(*_CHAINS[kind]) if is_filtered else []
            descriptors[index] = type(descriptors[index])(index, chain)
            return descriptors

    worker = Filtering()
    whole = NotingWorker()
    run_job(whole, media_files("h264.ts"), tmp_path)
    outcome = run_job(worker, source, tmp_path)

    assert {key: len(frames) for key, frames in worker.frames.items()} == {other: len(whole.frames[other])}
    assert len(outcome.entries) == len(whole.frames[other])
    assert worker.endings == 1
    (warning,) = _warnings(caplog)
    assert warning.startswith(f"Stream {index} ({kind.lower()}, codec ")


@pytest.mark.parametrize("chain", [[], _CHAINS["VIDEO"]], ids=["unfiltered", "filtered"])
def test_an_image_that_cannot_be_decoded_fails_as_such_with_and_without_a_filter(media_files, tmp_path, caplog, chain):
    source = media_files("broken.png")

    with pytest.raises(MediaSourceError, match="nothing of stream 0 can be decoded"):
        run_job(NotingWorker("VIDEO", filters(*chain)), source, tmp_path)

    outcome = run_job(NotingWorker("VIDEO", filters(*chain)), source, tmp_path, settings=MediaSettings(on_error="skip"))
    assert outcome.entries == []
    assert len(_warnings(caplog)) == 1


def test_each_stream_without_a_frame_is_named_and_no_other(media_files, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    source = media_files("subtitled.mkv")

    run_job(NotingWorker("VIDEO AUDIO SUBTITLE"), source, tmp_path)
    assert _warnings(caplog) == []

    # The subtitles pause in this part; the filter lets no picture through.
    chain = filters(("select", {"expr": "0"}))
    run_job(NotingWorker("VIDEO SUBTITLE", chain), source, tmp_path, sdk_start_index=3600, sdk_stop_index=3800)
    assert [warning.split(",")[0] for warning in _warnings(caplog)] == ["Stream 0 (video", "Stream 2 (subtitle"]


def test_a_live_source_keeps_its_results_though_a_filtered_stream_never_came(tmp_path, caplog):
    data = _transport_packets(make_clip(tmp_path / "clip.ts"), _AUDIO, lambda _: b"")
    port = free_port()

    class Filtering(NotingWorker):
        def init_process(self, context, parameters):
            super().init_process(context, parameters)
            chain = filters(*_CHAINS["AUDIO"])
            return [VideoStreamDescriptor(0, []), AudioStreamDescriptor(1, chain)]

    worker = Filtering()
    session, *_ = make_session(worker, f"srt://:{port}", tmp_path / "results.json")
    running = InThread(lambda: (session.open(), session.run()))
    peer = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    assert peer is not None
    for start in range(0, len(data), 7 * _PACKET_BYTES):
        peer.send(data[start : start + 7 * _PACKET_BYTES])
    peer.drain()
    peer.close()
    running.result()

    assert len(worker.frames[0]) == 100
    assert len(json.loads((tmp_path / "results.json").read_text())["frames"]) == 100
    assert [warning.split(",")[0] for warning in _warnings(caplog)] == ["Stream 1 (audio"]
