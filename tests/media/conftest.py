"""Media files made by the ffmpeg command and by PyAV, once for each version of this file and of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("av", reason="the extra media is not installed")

from tests.media.versions import FFMPEG_COMMAND, PYAV

VIDEO = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"]
NOISE = ["-f", "lavfi", "-i", "anoisesrc=r=48000:d=4:a=0.3:seed=7"]
SINE = ["-f", "lavfi", "-i", "sine=440:d=4:r=48000"]
SUBTITLES = "1\n00:00:00,500 --> 00:00:01,500\nFirst\n\n2\n00:00:02,000 --> 00:00:03,500\nSecond <i>line</i>\nthird\n"

#: How each file is made: arguments of ffmpeg, without the output. ``{dir}`` is the folder of the files.
RECIPES: dict[str, list[str]] = {
    "h264_bframes.mp4": [
        *VIDEO,
        *SINE,
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ],
    "h264.ts": [*VIDEO, *SINE, "-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "mp2"],
    "h264_offset.ts": [
        *VIDEO,
        *SINE,
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "mp2",
        "-output_ts_offset",
        "10",
    ],
    "h264_offset.mkv": [
        *VIDEO,
        *SINE,
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "flac",
        "-output_ts_offset",
        "10",
    ],
    "h264_opengop.mp4": [
        *VIDEO,
        "-c:v",
        "libx264",
        "-bf",
        "3",
        "-g",
        "20",
        "-x264-params",
        "open-gop=1",
        "-pix_fmt",
        "yuv420p",
    ],
    "h264_long_gop.mkv": [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x90:r=25:d=15",
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "50",
        "-pix_fmt",
        "yuv420p",
    ],
    "h264_10bit.mp4": [*VIDEO, "-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
    "h264_gray.mp4": [*VIDEO, "-c:v", "libx264", "-pix_fmt", "gray"],
    "h264_interlaced.mp4": [
        *VIDEO,
        "-vf",
        "tinterlace=4",
        "-c:v",
        "libx264",
        "-flags",
        "+ildct+ilme",
        "-x264-params",
        "tff=1",
        "-pix_fmt",
        "yuv420p",
    ],
    "h264_one_group.mkv": [
        *VIDEO,
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "1000",
        "-sc_threshold",
        "0",
        "-pix_fmt",
        "yuv420p",
    ],
    "h264_bframes.h264": [*VIDEO, "-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"],
    "h264_plain.h264": [*VIDEO, "-r", "30000/1001", "-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"],
    "hevc_bframes.hevc": [
        *VIDEO,
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:bframes=3",
        "-pix_fmt",
        "yuv420p",
    ],
    "mpeg2_bframes.m2v": [*VIDEO, "-c:v", "mpeg2video", "-b:v", "3M", "-bf", "2"],
    "h264_bframes.avi": [
        *VIDEO,
        *SINE,
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "mp3",
    ],
    "mpeg4_bframes.avi": [*VIDEO, "-c:v", "mpeg4", "-bf", "2", "-b:v", "2M"],
    "h264_long_then_short.mkv": [
        *VIDEO,
        "-c:v",
        "libx264",
        "-bf",
        "3",
        "-force_key_frames",
        "1.5,1.9,2.3,2.7,3.1,3.5",
        "-x264-params",
        "open-gop=1:keyint=1000:min-keyint=1:scenecut=0",
        "-pix_fmt",
        "yuv420p",
    ],
    "h264_refresh.mp4": [
        *VIDEO,
        "-c:v",
        "libx264",
        "-bf",
        "0",
        "-x264-params",
        "intra-refresh=1:keyint=20",
        "-pix_fmt",
        "yuv420p",
    ],
    "wma.asf": [*SINE, "-c:a", "wmav2"],
    "adpcm.wav": [*NOISE, "-c:a", "adpcm_ms"],
    "png.mov": [*VIDEO, "-t", "1", "-c:v", "png"],
    "dnxhd.mov": [*VIDEO, "-t", "1", "-c:v", "dnxhd", "-profile:v", "dnxhr_sq", "-pix_fmt", "yuv422p"],
    "hevc_bframes.mp4": [*VIDEO, "-c:v", "libx265", "-x265-params", "log-level=error:bframes=3", "-pix_fmt", "yuv420p"],
    "prores.mov": [*VIDEO, *NOISE, "-c:v", "prores_ks", "-c:a", "pcm_s16le"],
    "mpeg2_interlaced.ts": [
        *VIDEO,
        "-vf",
        "tinterlace=4,setfield=tff",
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ildct+ilme",
        "-b:v",
        "3M",
        "-bf",
        "2",
    ],
    "mpeg2.mxf": [*VIDEO, *NOISE, "-c:v", "mpeg2video", "-b:v", "3M", "-c:a", "pcm_s16le", "-ac", "1"],
    "vp9_opus.webm": [
        *VIDEO,
        *SINE,
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-c:a",
        "libopus",
    ],
    "av1.mkv": [*VIDEO, "-t", "1", "-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"],
    "ffv1_flac.mkv": [*VIDEO, *NOISE, "-c:v", "ffv1", "-pix_fmt", "yuv422p10le", "-c:a", "flac"],
    "ffv1_rgb.mkv": [*VIDEO, "-t", "1", "-c:v", "ffv1", "-pix_fmt", "bgr0"],
    "vfr.mp4": [
        *VIDEO,
        "-vf",
        "select='not(mod(n,3))+lt(n,20)',setpts=PTS*1.7",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
    ],
    "odd.mkv": ["-f", "lavfi", "-i", "testsrc2=s=322x182:r=25:d=1", "-c:v", "ffv1", "-pix_fmt", "yuv420p"],
    "image.png": ["-f", "lavfi", "-i", "testsrc2=s=100x80", "-frames:v", "1"],
    "image.jpg": ["-f", "lavfi", "-i", "testsrc2=s=100x80", "-frames:v", "1", "-pix_fmt", "yuvj420p"],
    "aac.m4a": [*NOISE, *SINE, "-filter_complex", "amerge=2,aformat=channel_layouts=stereo", "-c:a", "aac"],
    "aac.adts.aac": [*SINE, "-c:a", "aac", "-f", "adts"],
    "mp3.mp3": [*NOISE, "-c:a", "libmp3lame"],
    "opus.ogg": [*NOISE, "-c:a", "libopus"],
    "flac.flac": [*NOISE, "-c:a", "flac"],
    "pcm_s16.wav": [*NOISE, "-ac", "2", "-c:a", "pcm_s16le"],
    "pcm_s24.wav": [*NOISE, "-ac", "2", "-c:a", "pcm_s24le"],
    "pcm_51.wav": [
        *NOISE,
        *SINE,
        "-filter_complex",
        "[0][1][0][1][0][1]amerge=6,aformat=channel_layouts=5.1",
        "-c:a",
        "pcm_s16le",
    ],
    "mono_u8.wav": [*SINE, "-ac", "1", "-ar", "22050", "-c:a", "pcm_u8"],
    "ac3_51.mkv": [
        *NOISE,
        *SINE,
        "-filter_complex",
        "[0][1][0][1][0][1]amerge=6,aformat=channel_layouts=5.1",
        "-c:a",
        "ac3",
    ],
}


#: Numbers of the packet that is broken, one in each file: one in the middle, and the last.
BROKEN_PACKETS = {
    "prores.mov": (50, 98, 99),
    "png.mov": (12, 23, 24),
    "dnxhd.mov": (12, 23, 24),
    "h264_bframes.mp4": (50, 98, 99),
    "vp9_opus.webm": (98, 99),
}


class MediaFiles:
    """Make a file when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            self._make(name, path)
        return path

    def _make(self, name: str, path: Path) -> None:
        # Suites of several Pythons may make it at the same time.
        made = path.with_name(f"making-{os.getpid()}-{name}")
        if name in DERIVED:
            DERIVED[name](self, made)
        else:
            ffmpeg(*RECIPES[name], str(made))
        made.replace(path)


def ffmpeg(*arguments: str) -> bytes:
    """Run the ffmpeg command; return what it wrote to its standard output."""
    run = subprocess.run(
        ["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments], check=False, capture_output=True, timeout=120
    )
    assert run.returncode == 0, f"ffmpeg {' '.join(arguments)}: {run.stderr.decode(errors='replace')}"
    return run.stdout


def _rotated(files: MediaFiles, path: Path) -> None:
    source = ["-i", str(files("h264_bframes.mp4")), "-c", "copy"]
    # Before version 6 ffmpeg took the tag for the rotation; version 9 takes nothing but the option.
    rotated = ["-display_rotation", "90", *source] if FFMPEG_COMMAND >= 6 else [*source, "-metadata:s:v:0", "rotate=90"]
    ffmpeg(*rotated, str(path))


def _cover(files: MediaFiles, path: Path) -> None:
    ffmpeg(
        "-i",
        str(files("mp3.mp3")),
        "-i",
        str(files("image.jpg")),
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
        str(path),
    )


def _subtitled(files: MediaFiles, path: Path) -> None:
    text = files.folder / "text.srt"
    text.write_text(SUBTITLES)
    ffmpeg(
        "-i",
        str(files("h264_bframes.mp4")),
        "-i",
        str(text),
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-c:s",
        "mov_text" if path.suffix == ".mp4" else "srt",
        str(path),
    )


def _text_file(files: MediaFiles, path: Path) -> None:
    text = files.folder / "text.srt"
    text.write_text(SUBTITLES)
    ffmpeg("-i", str(text), str(path))


def _stpp(files: MediaFiles, path: Path) -> None:
    text = files.folder / "text.srt"
    text.write_text(SUBTITLES)
    ffmpeg(
        "-i", str(files("h264_bframes.mp4")), "-i", str(text), "-map", "0:v", "-map", "1", "-c:v", "copy",
        "-c:s", "ttml", "-f", "mp4", str(path),
    )  # fmt: skip


def _klv(files: MediaFiles, path: Path) -> None:
    """A transport stream with a data stream, made by PyAV: ffmpeg cannot mux arbitrary bytes."""
    import av

    with av.open(str(files("h264.ts"))) as source, av.open(str(path), "w", format="mpegts") as target:
        video = source.streams.video[0]
        out_video = target.add_stream_from_template(video)
        # PyAV before 16.1 makes data streams without a codec only.
        out_data = target.add_data_stream("klv" if PYAV >= (16, 1) else None)
        for count, packet in enumerate(source.demux(video)):
            if packet.dts is None:
                continue
            packet.stream = out_video
            target.mux(packet)
            if count % 25 == 0:
                data = av.Packet(b"KLV number %d" % (count // 25))
                data.stream = out_data
                data.time_base = packet.time_base
                data.pts = data.dts = packet.dts
                target.mux(data)


def _truncated(name: str, part: float) -> Callable[[MediaFiles, Path], None]:
    def make(files: MediaFiles, path: Path) -> None:
        data = files(name).read_bytes()
        path.write_bytes(data[: int(len(data) * part)])

    return make


def _changing(files: MediaFiles, path: Path) -> None:
    parts = b""
    for size in ("320x180", "160x90"):
        parts += ffmpeg(
            "-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=1", "-c:v", "libx264", "-pix_fmt", "yuv420p",
            "-output_ts_offset", "0" if size == "320x180" else "1", "-f", "mpegts", "-",
        )  # fmt: skip
    path.write_bytes(parts)


def _faststart(files: MediaFiles, path: Path) -> None:
    ffmpeg("-i", str(files("h264_bframes.mp4")), "-c", "copy", "-movflags", "faststart", str(path))


def _holed(name: str) -> Callable[[MediaFiles, Path], None]:
    def make(files: MediaFiles, path: Path) -> None:
        data = bytearray(files(name).read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4000] = bytes(4000)
        path.write_bytes(data)

    return make


def _broken(name: str, number: int) -> Callable[[MediaFiles, Path], None]:
    """A video whose packet of that number holds zeros behind its first bytes."""

    def make(files: MediaFiles, path: Path) -> None:
        import av

        with av.open(str(files(name))) as source:
            packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
            content = bytes(packets[number])
        data = bytearray(files(name).read_bytes())
        start = data.index(content, packets[number].pos)
        data[start + 8 : start + len(content)] = bytes(len(content) - 8)
        path.write_bytes(data)

    return make


def _piped(*arguments: str) -> Callable[[MediaFiles, Path], None]:
    """What ffmpeg writes where it cannot go back to fill in a size."""

    def make(files: MediaFiles, path: Path) -> None:
        path.write_bytes(ffmpeg(*NOISE, "-t", "1.2345", *arguments, "-"))

    return make


def _cut_short(name: str, missing_bytes: int) -> Callable[[MediaFiles, Path], None]:
    def make(files: MediaFiles, path: Path) -> None:
        path.write_bytes(files(name).read_bytes()[:-missing_bytes])

    return make


DERIVED: dict[str, Callable[[MediaFiles, Path], None]] = {
    "rotated.mp4": _rotated,
    "cover.mp3": _cover,
    "subtitled.mkv": _subtitled,
    "subtitled.mp4": _subtitled,
    "faststart.mp4": _faststart,
    "text.srt": _text_file,
    "text.vtt": _text_file,
    "text.ass": _text_file,
    "text.ttml": _text_file,
    "stpp.mp4": _stpp,
    "klv.ts": _klv,
    "changing.ts": _changing,
    "truncated.mp4": _truncated("faststart.mp4", 0.6),
    "truncated.ts": _truncated("h264.ts", 0.601),
    "truncated.mkv": _truncated("ffv1_flac.mkv", 0.6),
    "truncated.wav": _truncated("pcm_s16.wav", 0.6),
    "holed.ts": _holed("h264.ts"),
    "holed.mp4": _holed("faststart.mp4"),
    "cut_short.wav": _cut_short("pcm_s16.wav", 4),
    "piped.wav": _piped("-c:a", "pcm_s16le", "-f", "wav"),
    "piped_float.wav": _piped("-c:a", "pcm_f32le", "-f", "wav"),
    "piped.caf": _piped("-c:a", "pcm_s24be", "-f", "caf"),
    **{
        f"broken_{number}_{name}": _broken(name, number)
        for name, numbers in BROKEN_PACKETS.items()
        for number in numbers
    },
    "broken.png": _truncated("image.png", 0.3),
    "moov_missing.mp4": _truncated("h264_bframes.mp4", 0.6),
}


@pytest.fixture(scope="session")
def media_files() -> MediaFiles:
    """Gives the path of a media file by its name in ``RECIPES`` or ``DERIVED``."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg command is not installed")
    version = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True).stdout
    key = hashlib.sha256(Path(__file__).read_bytes() + version + str(PYAV).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"mcai-worker-sdk-media-{key}"
    folder.mkdir(exist_ok=True)
    return MediaFiles(folder)
