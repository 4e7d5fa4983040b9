"""Every frame and every sample ffmpeg decodes is delivered, with the same values."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, picture_md5, run_job, samples
from tests.media.versions import FFMPEG_COMMAND, FFMPEG_INSIDE

PICTURES = [
    "h264_bframes.mp4",
    "h264.ts",
    "h264_offset.ts",
    "h264_offset.mkv",
    "h264_opengop.mp4",
    "h264_10bit.mp4",
    "h264_gray.mp4",
    "h264_interlaced.mp4",
    "hevc_bframes.mp4",
    "prores.mov",
    "mpeg2_interlaced.ts",
    "mpeg2.mxf",
    "vp9_opus.webm",
    "av1.mkv",
    "ffv1_flac.mkv",
    "ffv1_rgb.mkv",
    "vfr.mp4",
    "odd.mkv",
    "rotated.mp4",
    "image.png",
    "image.jpg",
    "cover.mp3",
]

#: Decoders whose output the standard fixes bit by bit, or that this suite found equal between both versions of FFmpeg.
SAMPLES = {
    "pcm_s16.wav": "s16le",
    "pcm_s24.wav": "s32le",
    "pcm_51.wav": "s16le",
    "mono_u8.wav": "u8",
    "flac.flac": "s32le",
    "ffv1_flac.mkv": "s32le",
    "prores.mov": "s16le",
    "mpeg2.mxf": "s16le",
    "aac.m4a": "f32le",
    "aac.adts.aac": "f32le",
    "h264_bframes.mp4": "f32le",
    "mp3.mp3": "f32le",
    "opus.ogg": "f32le",
    "vp9_opus.webm": "f32le",
    "ac3_51.mkv": "f32le",
    "h264.ts": "s16le",
}
NUMPY_TYPES = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
#: Zero and full scale of whole-number samples.
FULL_SCALE = {"u8": (128, 128), "s16": (0, 2**15), "s32": (0, 2**31)}
#: Two versions of a floating-point decoder differ by rounding only.
FLOAT_TOLERANCE = 2e-4


#: AAC in MP4, four seconds each. What the encoder put behind their end FFmpeg cuts off since version 9.
AAC_IN_MP4 = {"aac.m4a", "h264_bframes.mp4"}
AAC_SAMPLES, AAC_PADDED_SAMPLES = 192_000, 192_512
#: What AC-3's encoder put before the beginning FFmpeg writes into Matroska since version 7, and cuts off since 8.
AC3_SAMPLES, AC3_DELAY_SAMPLES = 192_000, 256


def common_part(name, decoded, version):
    """Check that sound begins and ends where this version of FFmpeg has it; return what all versions have."""
    if name in AAC_IN_MP4:
        assert len(decoded) == (AAC_SAMPLES if version >= 9 else AAC_PADDED_SAMPLES)
        return decoded[:AAC_SAMPLES]
    if name == "ac3_51.mkv":
        is_cut = version >= 8 and FFMPEG_COMMAND >= 7
        assert len(decoded) == AC3_SAMPLES - is_cut * AC3_DELAY_SAMPLES
        return decoded[AC3_DELAY_SAMPLES - AC3_SAMPLES :]
    return decoded


def ffmpeg_md5s(path, *arguments, stream="0:v:0"):
    out = ffmpeg(
        "-noautorotate",
        "-i",
        str(path),
        "-map",
        stream,
        *arguments,
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ).decode()
    return re.findall(r"([0-9a-f]{32})$", out, re.MULTILINE)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_has_the_pixels_ffmpeg_decodes(media_files, tmp_path, name):
    path = media_files(name)
    worker = NotingWorker("VIDEO", note=lambda frame: (frame.pts, picture_md5(frame)))
    run_job(worker, path, tmp_path, batch_size=16)
    (pictures,) = worker.frames.values()
    assert [md5 for _, md5 in pictures] == ffmpeg_md5s(path)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_sample_is_the_one_ffmpeg_decodes(media_files, tmp_path, name):
    path = media_files(name)
    worker = NotingWorker("AUDIO")
    run_job(worker, path, tmp_path, batch_size=10)
    (frames,) = worker.frames.values()
    ours = samples(frames)
    dtype = NUMPY_TYPES[SAMPLES[name]]
    theirs = np.frombuffer(
        ffmpeg("-i", str(path), "-map", "0:a:0", "-f", SAMPLES[name], "-c:a", f"pcm_{SAMPLES[name]}", "-"), dtype=dtype
    ).reshape(-1, ours.shape[1])
    ours, theirs = common_part(name, ours, FFMPEG_INSIDE), common_part(name, theirs, FFMPEG_COMMAND)
    if ours.dtype.kind == "f" and theirs.dtype.kind == "f":
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=FLOAT_TOLERANCE)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("chain", "graph"),
    [
        (filters(("scale", {"w": 224, "h": 224}), ("format", {"pix_fmts": "rgb24"})), "scale=w=224:h=224,format=rgb24"),
        (filters(("fps", {"fps": 50})), "fps=50"),
        (filters(("fps", {"fps": 7})), "fps=7"),
        (filters(("select", {"expr": "not(mod(n,10))"})), "select='not(mod(n,10))'"),
        (filters(("select", {"expr": "0"})), "select=0"),
        (filters(("framestep", {"step": 7})), "framestep=7"),
        (filters(("hflip", {})), "hflip"),
        (filters(("vflip", {})), "vflip"),
        (filters(("crop", {"out_w": 10, "out_h": 20})), "crop=10:20"),
        (filters(("crop", {"w": 100, "h": 100, "x": 220, "y": 80}), ("null", {})), "crop=100:100:220:80"),
        (filters(("reverse", {})), "reverse"),
        (filters(("transpose", {"dir": 1})), "transpose=1"),
        (filters(("setpts", {"expr": "2*PTS"}), ("settb", {"expr": "1/1000"})), "setpts=2*PTS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_filter_gives_the_pictures_it_gives_in_ffmpeg(media_files, tmp_path, chain, graph):
    path = media_files("odd.mkv" if "reverse" in graph else "ffv1_flac.mkv")
    chain = [*chain, *filters(("format", {"pix_fmts": "yuv444p"}))] if "rgb24" not in graph else chain
    graph = f"{graph},format=yuv444p" if "rgb24" not in graph else graph
    worker = NotingWorker("VIDEO", chain, note=picture_md5)
    run_job(worker, path, tmp_path, batch_size=4)
    ours = worker.frames.get(0, [])
    theirs = ffmpeg_md5s(path, "-vf", graph)
    assert len(ours) == len(theirs)
    if "scale" not in graph:
        # The two versions of FFmpeg scale differently in the last bit; one conversion to 4:4:4 they share.
        assert ours == theirs


# AAC is cut first: versions of FFmpeg differ in where it ends.
@pytest.mark.parametrize(
    ("name", "chain", "graph", "count"),
    [
        ("aac.m4a", [("atrim", {"end_sample": 190000}), ("asetnsamples", {"n": 256, "p": 0})],
         "atrim=end_sample=190000,asetnsamples=256:p=0", 190000),
        ("aac.m4a", [("atrim", {"end_sample": 190000}), ("asetnsamples", {"n": 4096})],
         "atrim=end_sample=190000,asetnsamples=4096", 47 * 4096),
        ("pcm_s16.wav", [("aresample", {"sample_rate": 16000})], "aresample=16000", 64000),
        ("pcm_s16.wav", [("aformat", {"sample_rates": 16000, "channel_layouts": "mono", "sample_fmts": "s16"})],
         "aformat=sample_rates=16000:channel_layouts=mono:sample_fmts=s16", 64000),
        ("mono_u8.wav", [("anull", {})], "anull", 88200),
        ("mono_u8.wav", [("aformat", {"channel_layouts": "stereo", "sample_fmts": "flt"})],
         "aformat=channel_layouts=stereo:sample_fmts=flt", 88200),
        ("mpeg2.mxf", [("anull", {})], "anull", 192000),
        ("pcm_51.wav", [("pan", {"args": "mono|c0=c2"})], "pan=mono|c0=c2", 192000),
        ("flac.flac", [("atrim", {"start_sample": 9, "end_sample": 99})], "atrim=start_sample=9:end_sample=99", 90),
    ],
)  # fmt: skip
def test_an_audio_filter_gives_the_samples_it_gives_in_ffmpeg(media_files, tmp_path, name, chain, graph, count):
    path = media_files(name)
    worker = NotingWorker("AUDIO", filters(*chain))
    run_job(worker, path, tmp_path, batch_size=10)
    (frames,) = worker.frames.values()
    ours = samples(frames).astype(np.float64)
    offset, scale = FULL_SCALE.get(frames[0].format_name.removesuffix("p"), (0, 1))
    ours = (ours - offset) / scale
    theirs = np.frombuffer(
        ffmpeg("-i", str(path), "-map", "0:a:0", "-af", graph, "-f", "f64le", "-c:a", "pcm_f64le", "-"), dtype="<f8"
    ).reshape(-1, ours.shape[1])
    assert ours.shape == theirs.shape
    assert len(ours) == count
    np.testing.assert_allclose(ours, theirs, atol=FLOAT_TOLERANCE)
