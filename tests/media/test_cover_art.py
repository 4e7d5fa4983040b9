"""Pictures attached to a source, and streams whose header says nothing of their length."""

from __future__ import annotations

import av.error
import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.reading.seeking import seek_to_range
from tests.media.bits import with_chapter_images
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, run_job

TONE = ["-f", "lavfi", "-i", "anoisesrc=r=48000:d=40:a=0.3:seed=7"]


@pytest.fixture(scope="module", params=["m4a", "mkv"])
def covered(request, media_files, tmp_path_factory):
    """Forty seconds of sound with a picture attached."""
    path = tmp_path_factory.mktemp("covered") / f"covered.{request.param}"
    picture = str(media_files("image.jpg"))
    if request.param == "mkv":
        attached = ["-attach", picture, "-metadata:s:t", "mimetype=image/jpeg", "-metadata:s:t", "filename=cover.jpg"]
    else:
        attached = ["-i", picture, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"]
    ffmpeg(*TONE, *attached, "-c:a", "alac" if request.param == "m4a" else "flac", str(path))
    return path


def times_of(source, folder, **values):
    """Per kind, the times of the frames of one job."""
    worker = NotingWorker(note=lambda frame: (frame.name, frame.time_seconds))
    run_job(worker, source, folder, batch_size=100, **values)
    frames = [frame for frames in worker.frames.values() for frame in frames]
    return {kind: [time for name, time in frames if name == kind] for kind in ("audio", "video")}


def test_a_whole_source_with_a_cover_gives_the_cover_and_all_its_sound(covered, tmp_path):
    times = times_of(covered, tmp_path)

    assert len(times["video"]) == 1
    assert times["audio"][-1] > 39.8


@pytest.mark.parametrize("sought", [False, True])
def test_a_range_has_the_sound_in_it_and_the_cover_which_has_no_time(covered, tmp_path, monkeypatch, sought):
    whole = times_of(covered, tmp_path)["audio"]
    if sought:
        monkeypatch.setattr("mcai_worker_sdk.media.reading.seeking._WORTH_BYTES", 0)

    times = times_of(covered, tmp_path, sdk_start_index=30_000, sdk_stop_index=31_000)

    assert times["audio"] == [time for time in whole if 30 <= time < 31]
    assert len(times["video"]) == 1


def test_a_matroska_stream_without_a_length_of_its_own_may_end_before_the_longest(media_files, tmp_path):
    source = tmp_path / "untagged.mkv"
    short = ["-f", "lavfi", "-i", "sine=d=3:r=48000"]
    ffmpeg("-i", str(media_files("ffv1_flac.mkv")), *short, "-map", "0:v", "-map", "1", str(source))
    long = tmp_path / "long.mkv"
    tone = ["-f", "lavfi", "-i", "sine=d=9:r=48000"]
    ffmpeg("-i", str(source), *tone, "-map", "0", "-map", "1", "-c", "copy", "-c:a:1", "flac", str(long))
    # FFmpeg writes a tag with each stream's length; other programs do not.
    long.write_bytes(long.read_bytes().replace(b"DURATION", b"DURATI0N"))

    worker = NotingWorker(note=lambda frame: frame.nb_samples)
    run_job(worker, long, tmp_path, batch_size=100)

    assert sum(worker.frames[2]) == 9 * 48_000


class LostContainer:
    """Refuses the first seeks."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.seeks = []

    def seek(self, offset, stream=None):
        self.seeks.append((offset, stream))
        if len(self.seeks) <= self.refusals:
            raise av.error.PermissionError(1, "Operation not permitted")


CONTEXT = FormatContext(format_name="mov,mp4", format_long_name="MP4", start_time=1.5, bit_rate=80_000_000, streams=())


@pytest.fixture
def stream(covered):
    with av.open(str(covered)) as container:
        yield container.streams.audio[0]


def test_after_a_seek_that_fails_the_source_is_read_from_its_beginning(stream):
    container = LostContainer(refusals=1)

    assert seek_to_range(container, CONTEXT, [stream], TimeRange(start_ms=3_600_000)) is False
    assert container.seeks[-1] == (1_500_000, None)


def test_a_source_that_does_not_find_back_is_an_error_with_the_remedy(stream):
    with pytest.raises(
        MediaSourceError, match=r"cannot be sought to its range nor back .*; expected .*sdk_start_index"
    ):
        seek_to_range(LostContainer(refusals=2), CONTEXT, [stream], TimeRange(start_ms=3_600_000))


@pytest.fixture
def chapter_images(tmp_path):
    """A film of 4 s whose chapters have an image each second."""
    path = tmp_path / "film.mov"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=4", "-f", "lavfi", "-i", "testsrc2=s=32x18:r=1:d=4", "-map", "0",
        "-map", "1", "-c:v:0", "libx264", "-c:v:1", "mjpeg", "-pix_fmt:v:0", "yuv420p", "-pix_fmt:v:1", "yuvj420p",
        str(path),
    )  # fmt: skip
    path.write_bytes(with_chapter_images(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("start_ms", "stop_ms", "expected"),
    [(None, None, [0, 1, 2, 3]), (1500, 2500, [2]), (0, 1000, [0]), (2000, None, [2, 3])],
)
def test_images_that_have_times_belong_to_their_range(chapter_images, tmp_path, start_ms, stop_ms, expected):
    values = {"sdk_start_index": start_ms, "sdk_stop_index": stop_ms}
    worker = NotingWorker("VIDEO", note=lambda frame: frame.time_seconds)
    run_job(worker, chapter_images, tmp_path, **{key: value for key, value in values.items() if value is not None})
    assert worker.frames[1] == expected
