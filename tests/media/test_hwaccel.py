"""
Decoding by a CUDA device: the same pictures as by the CPU. Runs where there is one, with clips that PyAV itself makes.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mcai_worker_sdk.media.sources.file import open_file_source
from mcai_worker_sdk.media.sources.hwaccel import usable_hwaccel
from mcai_worker_sdk.settings import MediaSettings
from tests.media.support import NotingWorker, filters, picture_md5, run_job

CUDA = MediaSettings(hwaccel="cuda")

#: Encoder, pixel format, options; and the format the pictures are compared in.
CLIPS = {
    "h264": ("libx264", "yuv420p", {"bf": "2", "g": "25"}, "yuv420p"),
    "hevc": ("libx265", "yuv420p", {"x265-params": "log-level=none:bframes=3:keyint=25"}, "yuv420p"),
    "hevc_10_bit": ("libx265", "yuv420p10le", {"x265-params": "log-level=none:bframes=3:keyint=25"}, "yuv420p10le"),
    "vp9": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p"),
}


@pytest.fixture(autouse=True)
def _cuda() -> None:
    if usable_hwaccel("cuda") is None:
        pytest.skip("no CUDA device that decodes video")


def make_clip(folder: Path, codec: str, pixel_format: str, options: dict[str, str]) -> Path:
    """Four seconds of a moving gradient, 320x180 at 25 pictures a second."""
    path = folder / f"{codec}_{pixel_format}.mkv"
    rows, columns = np.mgrid[0:180, 0:320]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, pixel_format
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(100):
            shades = [rows + 3 * number, columns + 5 * number, rows + columns + 7 * number]
            frame = av.VideoFrame.from_ndarray(np.stack(shades, axis=-1).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


def pictures(path: Path, folder: Path, settings: MediaSettings, compared_in: str, **values: object) -> list[object]:
    chain = filters(("format", {"pix_fmts": compared_in}))
    worker = NotingWorker("VIDEO", chain, note=lambda frame: (frame.pts, frame.key_frame, picture_md5(frame)))
    run_job(worker, path, folder, settings=settings, **values)
    return worker.frames[0]


@pytest.mark.parametrize("name", CLIPS)
def test_the_device_decodes_what_the_cpu_decodes(name: str, tmp_path: Path):
    codec, pixel_format, options, compared_in = CLIPS[name]
    path = make_clip(tmp_path, codec, pixel_format, options)

    by_device = pictures(path, tmp_path, CUDA, compared_in)

    assert len(by_device) == 100
    assert by_device == pictures(path, tmp_path, MediaSettings(), compared_in)
    source = open_file_source(str(path), hwaccel="cuda")
    assert source.container.streams.video[0].codec_context.is_hwaccel
    source.close()


def test_a_range_is_the_same_on_the_device(tmp_path: Path):
    codec, pixel_format, options, compared_in = CLIPS["h264"]
    path = make_clip(tmp_path, codec, pixel_format, options)
    limits = {"sdk_start_index": 1300, "sdk_stop_index": 2500}

    by_device = pictures(path, tmp_path, CUDA, compared_in, **limits)

    assert len(by_device) == 30
    assert by_device == pictures(path, tmp_path, MediaSettings(), compared_in, **limits)


def test_pictures_without_a_filter_are_in_main_memory(tmp_path: Path):
    codec, pixel_format, options, _ = CLIPS["h264"]
    path = make_clip(tmp_path, codec, pixel_format, options)
    worker = NotingWorker("VIDEO", note=lambda frame: (frame.format_name, [len(plane) for plane in frame.data[:3]]))

    run_job(worker, path, tmp_path, settings=CUDA, batch_size=16)

    ((format_name, sizes),) = {(name, tuple(lengths)) for name, lengths in worker.frames[0]}
    assert format_name == "nv12"
    assert sizes[1] * 2 == sizes[0]
    assert sizes[2] == 0


def test_a_codec_that_no_device_decodes_is_decoded_by_the_cpu(tmp_path: Path):
    path = make_clip(tmp_path, "prores_ks", "yuv422p10le", {})

    by_device = pictures(path, tmp_path, CUDA, "yuv422p10le")

    assert len(by_device) == 100
    assert by_device == pictures(path, tmp_path, MediaSettings(), "yuv422p10le")
