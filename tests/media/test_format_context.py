"""What ``init_process`` is told about the source."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from tests.media.support import NotingWorker, run_job


def context_of(path, folder):
    worker = NotingWorker("")
    run_job(worker, path, folder)
    return worker.context


def test_a_format_context_describes_a_file(media_files, tmp_path):
    context = context_of(media_files("h264_bframes.mp4"), tmp_path)
    assert (context.format_name, context.format_long_name) == ("mov,mp4,m4a,3gp,3g2,mj2", "QuickTime / MOV")
    assert (context.duration, context.start_time, context.packet_size, context.program_count) == (4.0, 0.0, 0, 0)
    assert (context.nb_streams, context.metadata["major_brand"]) == (2, "isom")
    assert context.bit_rate > 100_000
    assert list(context.metadata) == sorted(context.metadata)


def test_a_video_stream_is_described(media_files, tmp_path):
    video = context_of(media_files("h264_bframes.mp4"), tmp_path).streams[0]
    assert (video.index, video.kind, video.width, video.height) == (0, "AVMEDIA_TYPE_VIDEO", 320, 180)
    assert (video.nb_frames, video.avg_frame_rate, video.r_frame_rate) == (100, 25.0, 25.0)
    assert (video.start_time, video.duration, video.time_base) == (0.0, 4.0, Fraction(1, 12800))
    assert (video.codec_name, video.pix_fmt, video.sample_fmt) == ("h264", "yuv420p", None)
    assert (video.channels, video.sample_rate, video.channel_layout) == (0, 0, None)
    assert (video.language, video.disposition) == ("und", ("default",))


def test_an_audio_stream_is_described(media_files, tmp_path):
    audio = context_of(media_files("h264_bframes.mp4"), tmp_path).streams[1]
    assert (audio.kind, audio.channels, audio.sample_rate) == ("AVMEDIA_TYPE_AUDIO", 1, 48000)
    assert (audio.codec_name, audio.sample_fmt, audio.channel_layout, audio.pix_fmt) == ("aac", "fltp", "mono", None)
    assert (audio.width, audio.height) == (0, 0)
    assert math.isnan(audio.avg_frame_rate)
    assert math.isnan(audio.r_frame_rate)


def test_streams_of_a_transport_stream_have_their_own_start_and_no_invented_count(media_files, tmp_path):
    context = context_of(media_files("h264_offset.ts"), tmp_path)
    video, audio = context.streams
    assert (video.start_time, audio.start_time) == (pytest.approx(11.4), pytest.approx(11.39, abs=0.001))
    assert video.start_time != audio.start_time
    assert (video.nb_frames, audio.nb_frames, context.program_count) == (0, 0, 1)


def test_unknown_things_are_none_or_zero(media_files, tmp_path):
    context = context_of(media_files("image.png"), tmp_path)
    assert (context.duration, context.bit_rate, context.start_time) == (None, None, None)
    stream = context_of(media_files("vp9_opus.webm"), tmp_path).streams[0]
    assert (stream.nb_frames, stream.duration) == (0, None)


def test_six_channels_have_a_layout_and_a_bare_channel_has_none(media_files, tmp_path):
    assert context_of(media_files("pcm_51.wav"), tmp_path).streams[0].channel_layout == "5.1"
    assert context_of(media_files("mpeg2.mxf"), tmp_path).streams[1].channel_layout is None


def test_a_rotation_is_told_as_existing_workers_know_it(media_files, tmp_path):
    stream = context_of(media_files("rotated.mp4"), tmp_path).streams[0]
    assert (stream.stream_metadata["rotate"], stream.width, stream.height) == ("270", 320, 180)


def test_a_cover_is_told_by_its_disposition(media_files, tmp_path):
    stream = context_of(media_files("cover.mp3"), tmp_path).streams[1]
    assert stream.disposition == ("attached_pic",)


def test_subtitles_are_told_by_kind_codec_and_language(media_files, tmp_path):
    stream = context_of(media_files("subtitled.mkv"), tmp_path).streams[2]
    assert (stream.kind, stream.codec_name) == ("AVMEDIA_TYPE_SUBTITLE", "subrip")
    assert context_of(media_files("stpp.mp4"), tmp_path).streams[1].codec_name == "ttml"
