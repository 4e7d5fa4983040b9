"""What a source's headers declare: one that was cut fails, whole ones do not, however odd their lengths are."""

from __future__ import annotations

import os
import random
import struct
import threading

import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.damage.declared_sizes import _FORMATS, declared_end_bytes
from mcai_worker_sdk.settings import MediaSettings
from tests.media.bits import box, with_edits
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, run_job
from tests.media.test_network import serving

SKIP = MediaSettings(on_error="skip")
SOUND = ("-f", "lavfi", "-i", "anoisesrc=r=48000:d=4:a=0.3:seed=7")
FILM = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=4", "-f", "lavfi", "-i", "sine=440:d=4:r=48000")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac")
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"

#: Arguments of ffmpeg for each file.
WHOLE = {
    "sound.wav": SOUND,
    "sound_rf64.wav": (*SOUND, "-rf64", "always"),
    "sound.w64": SOUND,
    "sound.caf": SOUND,
    "sound.au": SOUND,
    "sound.aiff": SOUND,
    "sound.aifc": (*SOUND, "-c:a", "pcm_f32be", "-f", "aiff"),
    "sound.flac": SOUND,
    "sound.tta": SOUND,
    "sound.wv": SOUND,
    "sound.wma": SOUND,
    "sound.mp3": (*SOUND, "-c:a", "libmp3lame"),
    "sound_vbr.mp3": (*SOUND, "-c:a", "libmp3lame", "-q:a", "3", "-metadata", f"comment={'long' * 500}"),
    "opus.ogg": (*SOUND, "-c:a", "libopus"),
    "vorbis.ogg": (*SOUND, "-c:a", "libvorbis"),
    "film.mkv": (*FILM, *H264),
    "film.avi": (*FILM, "-c:v", "mpeg4", "-c:a", "mp3"),
    "film.mxf": (*FILM, "-c:v", "mpeg2video", "-c:a", "pcm_s16le"),
    "film.mp4": (*FILM, *H264, "-movflags", "faststart"),
    "fragments.mp4": (*FILM, *H264, "-movflags", FRAGMENTS),
    "indexed.mp4": (*FILM, *H264, "-movflags", f"{FRAGMENTS}+global_sidx"),
}
#: Written where nothing can be filled in afterwards: (container, arguments).
PIPED = {
    "mp3.wav": ("wav", (*SOUND, "-c:a", "libmp3lame")),
    "adpcm.wav": ("wav", (*SOUND, "-c:a", "adpcm_ms")),
    "piped.au": ("au", SOUND),
    "piped.flac": ("flac", SOUND),
    "piped.mp3": ("mp3", (*SOUND, "-c:a", "libmp3lame")),
    "piped.wma": ("asf", SOUND),
    "piped.ogg": ("ogg", (*SOUND, "-c:a", "libopus")),
    "piped.mkv": ("matroska", (*FILM, *H264)),
    "piped.avi": ("avi", (*FILM, "-c:v", "mpeg4", "-c:a", "mp3")),
    "piped.mxf": ("mxf", (*FILM, "-c:v", "mpeg2video", "-c:a", "pcm_s16le")),
    "piped.mp4": ("mp4", (*FILM, *H264, "-movflags", FRAGMENTS)),
}


@pytest.fixture(scope="module")
def files(media_files, tmp_path_factory):
    """Gives the path of a file of the two tables, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("sizes")

    def make(name):
        path = folder / name
        if not path.exists() and name in WHOLE:
            ffmpeg(*WHOLE[name], str(path))
        elif not path.exists():
            container, arguments = PIPED[name]
            path.write_bytes(ffmpeg(*arguments, "-f", container, "-"))
        return path

    return make


def cut(path, folder, part=0.4):
    """The first bytes of a file, under the same name."""
    data = path.read_bytes()
    short = folder / path.name
    short.write_bytes(data[: int(len(data) * part)])
    return short


@pytest.mark.parametrize("name", sorted([*WHOLE, *PIPED]))
def test_a_whole_file_completes(files, tmp_path, name):
    worker = NotingWorker(note=lambda frame: None)
    outcome = run_job(worker, files(name), tmp_path)
    assert worker.frames
    assert outcome.counts == {}


@pytest.mark.parametrize("part", [0.4, 0.6])
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_file_that_was_cut_fails(files, tmp_path, name, part):
    worker = NotingWorker(note=lambda frame: None)
    with pytest.raises(MediaSourceError, match="ends early"):
        run_job(worker, cut(files(name), tmp_path, part), tmp_path)
    assert worker.frames


@pytest.mark.parametrize("name", ["sound.aiff", "sound.mp3", "film.mkv"])
def test_a_cut_can_be_skipped(files, tmp_path, name, caplog):
    outcome = run_job(NotingWorker(note=lambda frame: None), cut(files(name), tmp_path), tmp_path, settings=SKIP)
    assert outcome.progressions[-1] == 100
    assert "ends early" in caplog.text


@pytest.mark.parametrize("name", ["sound.wav", "sound.aiff", "sound.au"])
def test_a_cut_between_two_packets_fails(files, tmp_path, name):
    path = files(name)
    data = path.read_bytes()
    header_bytes = len(data) - 4 * 48_000 * 2
    short = tmp_path / name
    short.write_bytes(data[: header_bytes + 4096 * 20])
    with pytest.raises(MediaSourceError, match=rf"it has {header_bytes + 4096 * 20} bytes, and its headers declare"):
        run_job(NotingWorker(note=lambda frame: None), short, tmp_path)


def test_a_cut_between_two_fragments_fails_where_an_index_names_them(files, tmp_path):
    data = files("indexed.mp4").read_bytes()
    short = tmp_path / "indexed.mp4"
    short.write_bytes(data[: data.index(b"moof", len(data) // 2) - 4])
    with pytest.raises(MediaSourceError, match="ends early"):
        run_job(NotingWorker(note=lambda frame: None), short, tmp_path)


@pytest.mark.parametrize("more", [0, 4])
def test_a_cut_behind_the_head_of_a_fragment_fails(files, tmp_path, more):
    data = files("fragments.mp4").read_bytes()
    short = tmp_path / "fragments.mp4"
    short.write_bytes(data[: data.index(b"mdat", len(data) // 2) - 4 + more])
    with pytest.raises(MediaSourceError, match="ends early"):
        run_job(NotingWorker(note=lambda frame: None), short, tmp_path)


def test_fragments_that_no_index_names_end_where_the_last_one_does(files, tmp_path):
    data = files("fragments.mp4").read_bytes()
    short = tmp_path / "fragments.mp4"
    short.write_bytes(data[: data.index(b"moof", len(data) // 2) - 4])
    assert 0 < counted(short, tmp_path)[0] < 100


def test_a_matroska_file_that_tells_no_lengths_of_streams_fails_when_it_was_cut(files, tmp_path):
    path = tmp_path / "film.mkv"
    data = files("film.mkv").read_bytes().replace(b"DURATION", b"NOTATIME")
    path.write_bytes(data[: len(data) * 2 // 5])
    with pytest.raises(MediaSourceError, match="its headers declare"):
        run_job(NotingWorker(note=lambda frame: None), path, tmp_path)


@pytest.mark.parametrize("name", ["film.mkv", "sound.wav", "sound.flac", "sound.mp3", "film.mp4"])
def test_a_cut_file_on_a_server_fails(files, tmp_path, name):
    with (
        serving(cut(files(name), tmp_path).read_bytes()) as url,
        pytest.raises(MediaSourceError, match="ends early"),
    ):
        run_job(NotingWorker(note=lambda frame: None), url, tmp_path)


def test_a_range_before_the_cut_is_whole(files, tmp_path):
    outcome = run_job(NotingWorker("AUDIO"), cut(files("sound.aiff"), tmp_path), tmp_path, sdk_stop_index=1000)
    assert outcome.counts == {}


# --- lengths in seconds that are none --------------------------------------------------------------------------------


def counted(path, folder):
    worker = NotingWorker(note=lambda frame: None)
    outcome = run_job(worker, path, folder)
    assert outcome.counts == {}
    return {index: len(items) for index, items in worker.frames.items()}


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (((1000, -1), (2000, 0)), (50, 3)),
        (((2000, 1000),), (50, 3)),
        (((1000, 0), (1000, 2000)), (50, 3)),
    ],
)
def test_an_edit_list_is_as_long_as_its_edits(files, tmp_path, edits, expected):
    ffmpeg("-i", str(files("film.mp4")), "-map", "0:v", "-c", "copy", str(tmp_path / "plain.mp4"))
    path = tmp_path / "edited.mp4"
    path.write_bytes(with_edits((tmp_path / "plain.mp4").read_bytes(), *edits))
    (count,) = counted(path, tmp_path).values()
    assert abs(count - expected[0]) <= expected[1]


def test_a_segment_behind_its_initialisation_is_a_file(files, tmp_path):
    ffmpeg(
        "-i", str(files("film.mp4")), "-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0",
        "-hls_segment_type", "fmp4", "-hls_segment_filename", str(tmp_path / "%d.m4s"), str(tmp_path / "list.m3u8"),
    )  # fmt: skip
    path = tmp_path / "joined.mp4"
    parts = tmp_path / "init.mp4", tmp_path / "2.m4s"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert counted(path, tmp_path)[0] == 25
    assert counted(f"concat:{parts[0]}|{parts[1]}", tmp_path)[0] == 25


@pytest.mark.parametrize("offset", [100, 1_700_000_000])
def test_fragments_may_begin_at_any_time(files, tmp_path, offset):
    path = tmp_path / "late.mp4"
    ffmpeg(
        "-itsoffset", str(offset), "-i", str(files("film.mp4")), "-c", "copy", "-copyts",
        "-avoid_negative_ts", "disabled", "-movflags", f"{FRAGMENTS}+frag_discont", str(path),
    )  # fmt: skip
    assert counted(path, tmp_path)[0] == 100


def test_a_tag_copied_from_a_longer_file_is_no_length(files, tmp_path):
    path = tmp_path / "film.mkv"
    data = files("film.mkv").read_bytes()
    assert data.count(b"00:00:04.") > 0
    path.write_bytes(data.replace(b"00:00:04.", b"00:10:04."))
    assert counted(path, tmp_path)[0] == 100
    with serving(path.read_bytes()) as url:
        assert counted(url, tmp_path)[0] == 100


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_the_last_picture_is_the_one_that_ends_last(tmp_path, container):
    path = tmp_path / f"film.{container}"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=10", "-vf", "select='lt(n,100)+eq(n,200)'", "-fps_mode", "vfr",
        "-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p", str(path),
    )  # fmt: skip
    assert counted(path, tmp_path) == {0: 101}


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4", "fragments.mp4", "mp3.wav", "sound.wav", "piped.flac"])
def test_a_pipe_whose_length_nobody_tells_is_read_to_its_end(files, tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_bytes, args=(files(name).read_bytes(),), daemon=True)
    writing.start()
    assert counted(path, tmp_path) == counted(files(name), tmp_path)
    writing.join()


# --- the headers alone -----------------------------------------------------------------------------------------------


def declared(data, format_name, size_bytes=None):
    return declared_end_bytes(lambda at, size: data[at : at + size], size_bytes or len(data), format_name)


def riff(size, *, magic=b"RIFF", before=b""):
    head = magic + struct.pack("<I", 0xFFFFFFFF if magic == b"RF64" else size) + b"WAVE" + before
    return head + b"data" + struct.pack("<I", size) + bytes(20)


@pytest.mark.parametrize(
    "size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFFF00, 0x7FFFF000, 0x7F000000, 0xFFFFFFDB]
)
def test_a_size_that_only_says_unknown_declares_nothing(size):
    assert declared(riff(size), "wav") is None
    assert declared(b".snd" + struct.pack(">II", 24, size) + bytes(40), "au") is None


@pytest.mark.parametrize("size", [1000, 2_000_000_000, 3_000_000_000])
def test_any_other_size_is_meant(size):
    assert declared(riff(size), "wav") == 20 + size


def test_sizes_of_64_bits_are_read():
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 5_000_000_000, 0, 0)
    assert declared(riff(0xFFFFFFFF, magic=b"RF64", before=ds64), "wav") == 12 + len(ds64) + 8 + 5_000_000_000
    large = struct.pack(">I4sQ", 1, b"mdat", 6_000_000_000)
    assert declared(box(b"ftyp", bytes(8)) + large, "mov,mp4") == 16 + 6_000_000_000


def test_a_box_that_reaches_to_the_end_declares_nothing():
    assert declared(box(b"ftyp", bytes(8)) + struct.pack(">I4s", 0, b"mdat") + bytes(100), "mov") is None


def test_what_stands_behind_the_content_may_be_missing():
    data = box(b"ftyp", bytes(8)) + box(b"mdat", bytes(50)) + struct.pack(">I4s", 500, b"free") + bytes(10)
    assert declared(data, "mov") == 16 + 58


@pytest.mark.parametrize("magic", [b"Xing", b"Info"])
@pytest.mark.parametrize(("flags", "size"), [(3, 90_000), (2, 90_000), (1, None), (0, None)])
def test_the_first_frame_of_an_mp3_may_tell_its_size(magic, flags, size):
    fields = (struct.pack(">I", 77) if flags & 1 else b"") + (struct.pack(">I", 90_000) if flags & 2 else b"")
    tag = b"ID3\3\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    data = tag + b"\xff\xfb\x90\x64" + bytes(32) + magic + struct.pack(">I", flags) + fields + bytes(200)
    end = declared(data, "mp3")
    assert end is None if size is None else len(tag) + size - 5000 < end <= len(tag) + size


def test_the_other_header_of_an_mp3_is_read():
    data = b"\xff\xfb\x90\x64" + bytes(32) + b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 90_000, 77) + bytes(200)
    assert 85_000 < declared(data, "mp3") <= 90_000


def test_an_unknown_format_declares_nothing():
    assert declared(b"RIFF", "mpegts") is None


@pytest.mark.parametrize("format_name", sorted(_FORMATS))
def test_whatever_a_file_holds_is_taken(files, format_name):
    generator = random.Random(7)
    samples = [b"", b"\0", bytes(64), b"\xff" * 4096, *(generator.randbytes(4096) for _ in range(50))]
    for name in (*WHOLE, *PIPED):
        data = bytearray(files(name).read_bytes()[:4096])
        for _ in range(20):
            data[generator.randrange(min(len(data), 200))] = generator.randrange(256)
            samples.append(bytes(data))
    for data in samples:
        end = declared(data, format_name)
        assert end is None or isinstance(end, int)
