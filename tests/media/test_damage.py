"""Broken sources: what can be decoded is delivered, what is broken is counted, an early end is an error by default."""

from __future__ import annotations

import re
from types import SimpleNamespace

import av
import av.error
import pytest

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.session import MediaSession
from mcai_worker_sdk.settings import MediaSettings
from tests.media.conftest import BROKEN_PACKETS, ffmpeg
from tests.media.support import NotingWorker, picture_md5, run_job

SKIP = MediaSettings(on_error="skip")
#: How much of each stream of four seconds is left when two fifths of the file are missing, in seconds.
TRUNCATED = {
    "truncated.mp4": {0: (2.2, 2.48), 1: (2.13, 2.39)},
    "truncated.ts": {0: (2.2, 2.52), 1: (2.28, 2.45)},
    "truncated.mkv": {0: (2.2, 2.52), 1: (2.3, 2.5)},
    "truncated.wav": {0: (2.38, 2.41)},
}


def seconds_of(frames):
    """How long the frames of one stream last: pictures of 1/25 s, or samples."""
    return sum(1 / 25 if frame.is_video else frame.nb_samples / frame.sample_rate for frame in frames)


@pytest.mark.parametrize("name", sorted(TRUNCATED))
def test_a_source_that_ends_early_delivers_what_it_has_and_fails(media_files, tmp_path, name):
    worker = NotingWorker()
    with pytest.raises(MediaSourceError, match=rf"Source '.*{name}' ends early: .*; expected it to be read to its end"):
        run_job(worker, media_files(name), tmp_path)
    left = {index: seconds_of(frames) for index, frames in worker.frames.items()}
    assert left.keys() == TRUNCATED[name].keys()
    assert all(low <= left[index] <= high for index, (low, high) in TRUNCATED[name].items()), left
    assert worker.endings == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(TRUNCATED))
def test_an_early_end_can_be_skipped(media_files, tmp_path, name, caplog):
    worker = NotingWorker()
    outcome = run_job(worker, media_files(name), tmp_path, settings=SKIP)
    assert outcome.progressions[-1] == 100
    assert len(outcome.entries) == len(worker.calls) > 0
    assert "ends early" in caplog.text


def test_a_source_that_only_the_parameters_class_names_is_named_when_it_ends_early(media_files, tmp_path):
    session = MediaSession(
        worker=NotingWorker(),
        job_id=7,
        parameters=SimpleNamespace(source_path=str(media_files("truncated.wav"))),
        values={"destination_path": str(tmp_path / "results.json")},
        channel=McaiChannel(7, lambda job_id, percent: None),
        settings=MediaSettings(),
    )
    session.open()
    with pytest.raises(MediaSourceError, match=r"Source '.*truncated.wav' ends early: "):
        session.run()


def test_missing_packets_are_counted(media_files, tmp_path):
    outcome = run_job(NotingWorker(), media_files("truncated.mp4"), tmp_path, settings=SKIP)
    assert outcome.counts["missing_packets"] == (100 - 60) + (189 - 109)


@pytest.mark.parametrize("name", ["holed.ts", "holed.mp4"])
def test_corrupt_parts_are_counted_and_the_rest_is_delivered(media_files, tmp_path, name, caplog):
    worker = NotingWorker()
    outcome = run_job(worker, media_files(name), tmp_path)
    assert sum(outcome.counts.values()) > 0
    assert set(outcome.counts) <= {"corrupt_packets", "corrupt_frames"}
    assert 80 <= len(worker.frames[0]) <= 100
    assert "The source is damaged" in caplog.text


def refused_alone(path):
    """How many packets a decoder refuses that has one thread, and tells of each as it comes."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                count += 1
    return count


@pytest.mark.parametrize(
    "name", [f"broken_{number}_{name}" for name, numbers in BROKEN_PACKETS.items() for number in numbers]
)
def test_a_broken_packet_takes_no_other_picture_with_it_and_is_counted(media_files, tmp_path, name):
    path = media_files(name)
    worker = NotingWorker("VIDEO", note=picture_md5)
    outcome = run_job(worker, path, tmp_path)
    out = ffmpeg("-threads", "1", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-")
    theirs = re.findall(r"([0-9a-f]{32})$", out.decode(), re.MULTILINE)
    assert len(worker.frames[0]) == len(theirs)
    if path.suffix == ".mov":
        # Where pictures refer to others, versions of FFmpeg differ in what they make of damage.
        assert worker.frames[0] == theirs
    assert outcome.counts["corrupt_packets"] == refused_alone(path) > 0


@pytest.mark.parametrize(
    "name", ["prores.mov", "h264_bframes.mp4", "vp9_opus.webm", "png.mov", "image.png", "cover.mp3"]
)
def test_nothing_is_broken_in_a_whole_source(media_files, tmp_path, name):
    assert run_job(NotingWorker("VIDEO"), media_files(name), tmp_path).counts == {}


@pytest.mark.parametrize("name", ["piped.wav", "piped_float.wav", "piped.caf"])
def test_sound_that_was_written_to_a_pipe_is_whole(media_files, tmp_path, name):
    path = media_files(name)
    worker = NotingWorker(note=lambda frame: frame.nb_samples)
    outcome = run_job(worker, path, tmp_path)
    assert sum(worker.frames[0]) == len(ffmpeg("-i", str(path), "-f", "u8", "-")) == 59_256
    assert outcome.counts == {}


def test_a_sound_that_lacks_its_last_sample_is_not_whole(media_files, tmp_path):
    with pytest.raises(MediaSourceError, match="the last packet of stream 0 is incomplete"):
        run_job(NotingWorker(), media_files("cut_short.wav"), tmp_path)
    outcome = run_job(NotingWorker(), media_files("cut_short.wav"), tmp_path, settings=SKIP)
    assert outcome.counts == {"corrupt_packets": 1}


def test_a_range_before_the_cut_is_no_early_end(media_files, tmp_path):
    worker = NotingWorker()
    outcome = run_job(worker, media_files("truncated.mp4"), tmp_path, sdk_stop_index=1000)
    assert len(worker.frames[0]) == 25
    assert outcome.counts == {}


def test_a_file_without_its_index_cannot_be_opened(media_files, tmp_path):
    with pytest.raises(MediaSourceError, match="cannot be opened: Invalid data found"):
        run_job(NotingWorker(), media_files("moov_missing.mp4"), tmp_path)


def test_a_stream_of_which_nothing_can_be_decoded_fails(media_files, tmp_path):
    with pytest.raises(MediaSourceError, match="nothing of stream 0 can be decoded"):
        run_job(NotingWorker("VIDEO"), media_files("broken.png"), tmp_path)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        # One that FFmpeg knows on other systems, one that it does not know, one that decodes nothing.
        ("d3d11va", "the FFmpeg of PyAV knows .*drm"),
        ("nonsense", "the FFmpeg of PyAV knows .*drm"),
        ("drm", "No supported hardware config"),
    ],
)
def test_a_device_that_is_not_there_leaves_decoding_to_the_cpu(media_files, tmp_path, caplog, device, reason):
    worker = NotingWorker("VIDEO")
    run_job(worker, media_files("h264_bframes.mp4"), tmp_path, settings=MediaSettings(hwaccel=device))
    assert len(worker.frames[0]) == 100
    assert re.search(rf"No {device} device can decode here \({reason}", caplog.text)
