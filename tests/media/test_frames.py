"""Frames: planes of the right length, without a copy, to keep and to share."""

from __future__ import annotations

import gc
import hashlib
import threading

import av
import numpy as np
import pytest

from mcai_worker_sdk.media import Frame
from mcai_worker_sdk.media.model.frame.pixel_formats import pixel_format_number, sample_format_number
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, run_job


def one_frame(path, folder, kinds="VIDEO", chain=None):
    worker = NotingWorker(kinds, chain)
    run_job(worker, path, folder, batch_size=1000)
    (frames,) = worker.frames.values()
    return frames[0]


def raw_lines(frame):
    """The planes' bytes without padding, found by line size alone."""
    lines = []
    for plane, data, line_size in zip(frame.av_frame.planes, frame.data, frame.line_size, strict=False):
        assert len(data) == line_size * plane.height
        row = (BITS[frame.format_name] * plane.width + 7) // 8
        lines += [bytes(data[start : start + row]) for start in range(0, len(data), line_size)]
    return b"".join(lines)


#: Bits of one line of a plane, for each position.
BITS = {
    **dict.fromkeys(("yuv420p", "yuv422p", "yuv444p", "yuva420p", "yuv410p", "gray", "gbrp", "gbrap"), 8),
    **dict.fromkeys(("yuv420p10le", "yuv444p16be", "gray16le", "ya8", "rgb565le", "yuyv422"), 16),
    **dict.fromkeys(("rgba", "bgr0", "grayf32le"), 32),
    "monob": 1,
    "rgb24": 24,
    "rgb48le": 48,
    "rgba64le": 64,
}


@pytest.mark.parametrize("pixel_format", sorted(BITS))
def test_planes_have_the_right_length_and_bytes_in_every_pixel_format(media_files, tmp_path, pixel_format):
    path = media_files("odd.mkv")
    frame = one_frame(
        path,
        tmp_path,
        chain=filters(("scale", {"flags": "bitexact+accurate_rnd"}), ("format", {"pix_fmts": pixel_format})),
    )
    assert frame.format_name == pixel_format
    assert len(frame.data) == len(frame.line_size) == 8
    planes = len(frame.av_frame.planes)
    assert all(
        len(data) == 0 and size == 0 for data, size in zip(frame.data[planes:], frame.line_size[planes:], strict=True)
    )
    expected = len(ffmpeg("-i", str(path), "-frames:v", "1", "-pix_fmt", pixel_format, "-f", "rawvideo", "-"))
    assert len(raw_lines(frame)) == expected


@pytest.mark.parametrize("pixel_format", ["nv12", "p010le"])
def test_interleaved_chroma_is_one_plane_of_pairs(media_files, tmp_path, pixel_format):
    frame = one_frame(media_files("odd.mkv"), tmp_path, chain=filters(("format", {"pix_fmts": pixel_format})))
    luma, chroma = frame.planes
    assert luma.shape == (182, 322)
    assert chroma.shape == (91, 161, 2)
    assert len(frame.data[1]) == frame.line_size[1] * 91


def test_data_and_arrays_share_memory_with_the_frame(media_files, tmp_path):
    frame = one_frame(media_files("odd.mkv"), tmp_path, chain=filters(("format", {"pix_fmts": "rgb24"})))
    array = frame.to_ndarray()
    own = np.frombuffer(frame.av_frame.planes[0], dtype="u1")
    assert array.shape == (182, 322, 3)
    assert np.shares_memory(array, own)
    assert np.shares_memory(np.frombuffer(frame.data[0], dtype="u1"), own)
    assert np.shares_memory(np.asarray(frame), own)
    assert np.shares_memory(np.from_dlpack(frame), own)
    assert not array.flags.writeable
    assert frame.data[0].readonly


def test_planar_pictures_give_planes_without_a_copy(media_files, tmp_path):
    frame = one_frame(media_files("odd.mkv"), tmp_path)
    assert [plane.shape for plane in frame.planes] == [(182, 322), (91, 161), (91, 161)]
    assert all(
        np.shares_memory(array, np.frombuffer(plane, dtype="u1"))
        for array, plane in zip(frame.planes, frame.av_frame.planes, strict=True)
    )
    assert frame.to_ndarray().shape == (273, 322)


def test_an_array_of_another_type_is_a_copy(media_files, tmp_path):
    frame = one_frame(media_files("odd.mkv"), tmp_path, chain=filters(("format", {"pix_fmts": "gray"})))
    assert np.asarray(frame, dtype=np.float32).dtype == np.float32
    assert np.array(frame).flags.writeable
    # numpy 1 cannot ask for an array that is no copy.
    as_it_is = np.asarray if np.__version__ >= "2" else type(frame).__array__
    with pytest.raises(ValueError, match="needs a copy"):
        as_it_is(frame, dtype=np.float32, copy=False)


@pytest.mark.parametrize(
    ("sample_format", "number", "item", "planes"),
    [("u8", 0, 1, 1), ("s16", 1, 2, 1), ("s32", 2, 4, 1), ("flt", 3, 4, 1), ("dbl", 4, 8, 1), ("s16p", 6, 2, 2),
     ("fltp", 8, 4, 2)],
)  # fmt: skip
def test_audio_data_is_the_samples_packed_and_planar(media_files, tmp_path, sample_format, number, item, planes):
    frame = one_frame(
        media_files("pcm_s16.wav"), tmp_path, "AUDIO", filters(("aformat", {"sample_fmts": sample_format}))
    )
    assert (frame.format, frame.format_name) == (number, sample_format)
    used = frame.data[:planes]
    assert [len(data) for data in used] == [frame.nb_samples * item * 2 // planes] * planes
    assert all(len(data) == 0 for data in frame.data[planes:])
    assert frame.line_size[0] >= len(frame.data[0])
    assert frame.line_size[1:] == [0] * 7
    assert frame.to_ndarray().shape == (2, frame.nb_samples)
    assert np.shares_memory(frame.planes[0], np.frombuffer(frame.av_frame.planes[0], dtype="u1"))


def test_audio_of_more_than_eight_channels_has_a_plane_for_each(media_files, tmp_path):
    chain = filters(
        ("pan", {"args": "16C|" + "|".join(f"c{n}=c0" for n in range(16))}), ("aformat", {"sample_fmts": "fltp"})
    )
    frame = one_frame(media_files("pcm_s16.wav"), tmp_path, "AUDIO", chain)
    assert frame.channels == 16
    assert [len(data) for data in frame.data] == [frame.nb_samples * 4] * 16
    assert frame.to_ndarray().shape == (16, frame.nb_samples)


def test_a_picture_stored_bottom_up_is_given_top_down(media_files, tmp_path):
    plain = one_frame(media_files("odd.mkv"), tmp_path)
    flipped = one_frame(media_files("odd.mkv"), tmp_path, chain=filters(("vflip", {})))
    assert np.array_equal(flipped.planes[0], plain.planes[0][::-1])
    assert all(size >= 0 for size in flipped.line_size)
    bottom_up = Frame(BottomUp(), is_video=True)
    assert bytes(bottom_up.data[0]) == b"topp" + b"midd" + b"last"
    assert bottom_up.line_size[0] == 4


class _Memory(bytearray):
    line_size = -4
    height = 3
    width = 4
    buffer_size = 12


class BottomUp:
    """A picture as FFmpeg's vflip leaves it: PyAV's plane begins with the last line."""

    planes = (_Memory(b"lastmiddtopp"),)


def test_frames_outlive_the_call_and_the_job(media_files, tmp_path):
    path = media_files("h264_bframes.mp4")
    worker = NotingWorker("VIDEO", filters(("scale", {"w": 160, "h": 90})))
    run_job(worker, path, tmp_path, batch_size=10)
    sums = [hashlib.md5(frame.data[0]).hexdigest() for frame in worker.frames[0]]
    again = NotingWorker(
        "VIDEO", filters(("scale", {"w": 160, "h": 90})), note=lambda f: hashlib.md5(f.data[0]).hexdigest()
    )
    run_job(again, path, tmp_path, batch_size=10)
    gc.collect()
    assert sums == again.frames[0]
    view = worker.frames[0][5].data[0]
    digest = hashlib.md5(view).hexdigest()
    worker.frames.clear()
    gc.collect()
    assert hashlib.md5(view).hexdigest() == digest


def test_frames_can_be_used_from_other_threads(media_files, tmp_path):
    worker = NotingWorker("VIDEO AUDIO")
    run_job(worker, media_files("h264_bframes.mp4"), tmp_path, batch_size=10)
    seen = []

    def read():
        seen.extend((frame.pts, len(frame.data[0])) for frames in worker.frames.values() for frame in frames)
        worker.frames.clear()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(seen) == 100 + 188


def test_a_video_frame_tells_what_existing_workers_read(media_files, tmp_path):
    worker = NotingWorker("VIDEO")
    run_job(worker, media_files("h264_bframes.mp4"), tmp_path, batch_size=10)
    first, second = worker.frames[0][:2]
    assert (first.name, first.index, first.is_video, first.is_audio) == ("video", 1, True, False)
    assert (first.width, first.height, first.format, first.format_name) == (320, 180, 0, "yuv420p")
    assert (first.key_frame, second.key_frame) == (1, 0)
    assert (first.pts, second.pts, second.time_base.denominator) == (0, 512, 12800)
    assert second.time_seconds == pytest.approx(0.04)
    assert (first.nb_samples, first.sample_rate, first.channels) == (0, 0, 0)
    assert first.pkt_size > second.pkt_size > 0
    assert sorted(frame.coded_picture_number for frame in worker.frames[0]) == list(range(100))
    assert (first.display_picture_number, first.interlaced_frame, first.top_field_first) == (0, 0, 0)
    assert repr(first) == "<Frame video 320x180 yuv420p pts=0>"


def test_an_audio_frame_tells_what_existing_workers_read(media_files, tmp_path):
    chain = filters(("aformat", {"sample_rates": 16000, "channel_layouts": "mono", "sample_fmts": "s16"}))
    frame = one_frame(media_files("pcm_s16.wav"), tmp_path, "AUDIO", chain)
    assert (frame.name, frame.index, frame.is_video, frame.is_audio) == ("audio", 1, False, True)
    assert (frame.sample_rate, frame.channels, frame.format) == (16000, 1, 1)
    assert (frame.width, frame.height, frame.interlaced_frame, frame.coded_picture_number) == (0, 0, 0, 0)
    assert (frame.pts, frame.time_base.denominator) == (0, 16000)
    assert frame.pkt_size == 16384
    assert frame.nb_samples * 2 == len(frame.data[0])


@pytest.mark.parametrize("name", ["h264_interlaced.mp4", "mpeg2_interlaced.ts"])
def test_interlaced_pictures_tell_their_field_order(media_files, tmp_path, name):
    frame = one_frame(media_files(name), tmp_path)
    assert (frame.interlaced_frame, frame.top_field_first) == (1, 1)


def test_a_picture_becomes_an_image_where_pillow_is_installed(media_files, tmp_path):
    pytest.importorskip("PIL")
    frame = one_frame(media_files("odd.mkv"), tmp_path)
    assert frame.to_image().size == (322, 182)


def test_audio_is_no_image(media_files, tmp_path):
    frame = one_frame(media_files("pcm_s16.wav"), tmp_path, "AUDIO")
    with pytest.raises(TypeError, match="expected a picture"):
        frame.to_image()


def test_a_pixel_format_without_whole_bytes_says_which_filter_helps(media_files, tmp_path):
    frame = one_frame(media_files("odd.mkv"), tmp_path, chain=filters(("format", {"pix_fmts": "rgb565le"})))
    with pytest.raises(ValueError, match="The pixel format of the frame is rgb565le; expected one whose values"):
        _ = frame.planes


def test_frames_are_read_only(media_files, tmp_path):
    frame = one_frame(media_files("odd.mkv"), tmp_path)
    with pytest.raises(AttributeError):
        frame.pts = 3
    with pytest.raises(AttributeError):
        frame.note = "mine"


def test_format_numbers_are_those_of_ffmpeg_44():
    names = ("yuv420p", "yuvj420p", "yuv420p10le", "yuv422p10le", "bgr0", "p016be")
    assert [pixel_format_number(name) for name in names] == [0, 12, 64, 66, 123, 173]
    assert pixel_format_number("ayuv") == -1
    assert [sample_format_number(name) for name in ("u8", "fltp", "s64p")] == [0, 8, 11]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "pal8"])
def test_a_picture_that_fits_no_one_array_says_what_to_do(pixel_format):
    picture = Frame(av.VideoFrame(3, 3, pixel_format), is_video=True)

    with pytest.raises(ValueError, match=rf"The picture is {pixel_format} of 3x3; expected .*format=rgb24"):
        picture.to_ndarray()
