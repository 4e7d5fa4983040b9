"""What versions of PyAV do differently reaches no worker: tags, rational numbers, sizes, conversions."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from mcai_worker_sdk.media import Frame
from mcai_worker_sdk.media.pyav import exact, open_input, plain_tags, size_bytes
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, run_job

#: What a tag holds, and what a worker reads.
TAGS = {
    "UTF-8": ("Café – Ω".encode(), "Café – Ω"),
    "Windows-1252": (b"Caf\xe9 \x96 5\x80", "Café – 5€"),
    "damaged UTF-8": ("Café ".encode() + b"\xff", "Café �"),
    "no text": (b"\x81\x8d\xff\xfe", "��ÿþ"),
}
#: Longer than each of them; a tag's length is part of the file.
PLACEHOLDER = b"#" * 12


class TellingWorker(NotingWorker):
    """Gives the tags of its source as a result."""

    def process_frames(self, job_id, stream_index, frames):
        context = self.context
        return [context.metadata, *(stream.stream_metadata for stream in context.streams)]


@pytest.fixture(params=["wav", "mkv", "mp4"])
def tagged(request, media_files, tmp_path):
    """Makes a source whose title, and that of its stream where it can have one, holds these bytes."""

    def make(content: bytes):
        path = tmp_path / f"tagged.{request.param}"
        title = f"title={PLACEHOLDER.decode()}"
        codec = "aac" if request.param == "mp4" else "pcm_s16le"
        ffmpeg(
            "-i", str(media_files("mono_u8.wav")), "-t", "0.5", "-c:a", codec,
            "-metadata", title, "-metadata:s:a:0", title, str(path),
        )  # fmt: skip
        data = path.read_bytes()
        assert PLACEHOLDER in data
        path.write_bytes(data.replace(PLACEHOLDER, content.ljust(len(PLACEHOLDER))))
        return path

    return make


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_is_plain_text_in_whatever_encoding_it_is(tagged, tmp_path, name):
    content, text = TAGS[name]
    worker = TellingWorker()

    outcome = run_job(worker, tagged(content), tmp_path, batch_size=1000)

    assert worker.context.metadata["title"].rstrip() == text
    titles = [tags["title"] for tags in outcome.entries[0] if "title" in tags]
    assert titles
    assert {title.rstrip() for title in titles} == {text}
    json.dumps([dict(stream.stream_metadata) for stream in worker.context.streams], ensure_ascii=False).encode()


def test_the_name_of_a_tag_is_plain_text_as_well():
    assert plain_tags({"Sch\udcf6n": "gr\udcfcn", "plain": "é"}) == {"Schön": "grün", "plain": "é"}


@pytest.mark.parametrize(
    "name", ["h264_bframes.mp4", "h264_offset.ts", "ffv1_flac.mkv", "pcm_51.wav", "mp3.mp3", "image.png", "text.srt"]
)
def test_time_bases_are_fractions(media_files, tmp_path, name):
    worker = NotingWorker("VIDEO AUDIO", note=lambda frame: (type(frame.time_base), frame.pts * frame.time_base))
    run_job(worker, media_files(name), tmp_path)

    assert {type(stream.time_base) for stream in worker.context.streams} == {Fraction}
    assert {type(stream.avg_frame_rate) for stream in worker.context.streams} == {float}
    noted = [entry for entries in worker.frames.values() for entry in entries]
    assert all(kind is Fraction and type(time) is Fraction for kind, time in noted)


def test_behind_a_filter_a_time_base_is_a_fraction(media_files, tmp_path):
    worker = NotingWorker("VIDEO", filters(("settb", {"expr": "1/1000"})), note=lambda frame: frame.time_base)
    run_job(worker, media_files("ffv1_flac.mkv"), tmp_path)

    assert set(worker.frames[0]) == {Fraction(1, 1000)}
    assert {type(time_base) for time_base in worker.frames[0]} == {Fraction}


def test_a_time_base_that_is_not_set_is_none():
    picture = av.VideoFrame(16, 16, "gray")

    assert Frame(picture, is_video=True).time_base is None
    picture.time_base = Fraction(1, 25)
    time_base = Frame(picture, is_video=True).time_base
    assert (type(time_base), time_base) == (Fraction, Fraction(1, 25))


class Ratio:
    """A rational number as PyAV 19 has them; 1/0 and 0/1 are false."""

    def __init__(self, numerator, denominator):
        self.numerator = numerator
        self.denominator = denominator

    def __bool__(self):
        return bool(self.numerator and self.denominator)


@pytest.mark.parametrize("unset", [None, Fraction(0), Ratio(0, 1), Ratio(1, 0), Ratio(0, 0)])
def test_a_rate_that_is_not_known_is_none(unset):
    assert exact(unset) is None


class Pipe:
    """A file that can only be read."""

    def __init__(self, path):
        self._file = io.BytesIO(path.read_bytes())

    def read(self, size_bytes):
        return self._file.read(size_bytes)


def test_a_source_of_unknown_length_has_no_size(media_files):
    path = media_files("h264.ts")
    with open_input(str(path)) as container:
        assert size_bytes(container) == path.stat().st_size
    with open_input(Pipe(path), format="mpegts") as container:
        assert size_bytes(container) is None


@pytest.mark.parametrize(("aspect", "width"), [("16:9", 320), ("4:3", 240)])
def test_pixels_that_are_not_square_stay_so_through_a_filter(media_files, tmp_path, aspect, width):
    path = tmp_path / "aspect.mkv"
    ffmpeg("-i", str(media_files("ffv1_flac.mkv")), "-an", "-c", "copy", "-aspect", aspect, str(path))
    # It makes the picture as wide as it is shown.
    worker = NotingWorker("VIDEO", filters(("scale", {"w": "iw*sar", "h": "ih"})), note=lambda frame: frame.width)

    run_job(worker, path, tmp_path, sdk_stop_index=100)

    assert set(worker.frames[0]) == {width}


def noise(width, height):
    """A picture in YUV that carries every colour tag this version of PyAV can set."""
    picture = av.VideoFrame(width, height, "yuv420p")
    values = np.random.default_rng(7)
    for plane in picture.planes:
        plane.update(values.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
    picture.colorspace, picture.color_range = 1, 1
    if hasattr(picture, "color_trc"):
        picture.color_trc, picture.color_primaries = 1, 1
    return picture


def colour_tags(picture):
    names = ("colorspace", "color_range", "color_trc", "color_primaries")
    return {name: int(getattr(picture, name)) for name in names if hasattr(picture, name)}


def test_one_picture_becomes_an_image_in_several_threads_at_once_and_stays_as_it_is():
    pytest.importorskip("PIL")
    picture = noise(1280, 720)
    frame, tags = Frame(picture, is_video=True), colour_tags(picture)
    expected = hashlib.md5(frame.to_image().tobytes()).hexdigest()
    start, seen = threading.Barrier(4), []

    def convert():
        start.wait()
        seen.extend(hashlib.md5(frame.to_image().tobytes()).hexdigest() for _ in range(10))

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [expected] * 40
    assert colour_tags(picture) == tags


def test_pictures_of_all_kinds_are_converted_in_several_threads_as_in_one(media_files, tmp_path):
    pytest.importorskip("PIL")
    frames = []
    for name in ("h264_bframes.mp4", "ffv1_flac.mkv", "odd.mkv"):
        worker = NotingWorker("VIDEO")
        run_job(worker, media_files(name), tmp_path, sdk_stop_index=400)
        frames += worker.frames[0]

    def digests(frame):
        arrays = [frame.to_image().tobytes(), *(plane.tobytes() for plane in frame.planes)]
        if frame.format_name == "yuv420p":
            arrays.append(frame.to_ndarray().tobytes())
        return [hashlib.md5(array).hexdigest() for array in arrays]

    expected = [digests(frame) for frame in frames]
    seen = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda out=out: out.extend(map(digests, frames))) for out in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [expected] * 4
