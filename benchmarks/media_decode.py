"""
Measure decoding and filtering: this SDK, the ``ffmpeg`` command, and the reference SDK when one is at hand.

    python -m benchmarks.media_decode [--reference /path/to/python] [--runs 3] [--seconds 20] [--minutes 30]

Two cases: 1080p h264 to 224x224 rgb24 at batch 16, and AAC to 16 kHz mono s16 at batch 64. Every run is a process of
its own, its wall time includes start-up; "inside" counts from the first call of ``init_process``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.environment import installed_package

VIDEO_FILTERS = "scale=w=224:h=224,format=pix_fmts=rgb24"
AUDIO_FILTERS = "aformat=sample_rates=16000:channel_layouts=mono:sample_fmts=s16"

WORKER = """
import json, os, sys, time
import mcai_worker_sdk as mcai
KIND = os.environ["BENCH_KIND"]
TOUCH = os.environ.get("BENCH_TOUCH", "1") == "1"

class Parameters(mcai.WorkerParameters):
    source_path: str
    destination_path: str
    batch_size: int

class BenchWorker(mcai.Worker):
    def setup(self):
        pass
    def init_process(self, context, parameters):
        self.begin = time.monotonic()
        self.frames = self.bytes = 0
        if KIND == "video":
            scale = mcai.Filter(name="scale"); scale.add_parameters(w=224, h=224)
            form = mcai.Filter(name="format"); form.add_parameters(pix_fmts="rgb24")
            return [mcai.VideoStreamDescriptor(0, [scale, form])]
        if KIND == "plain":
            return [mcai.VideoStreamDescriptor(0, [mcai.Filter(name="null")])]
        form = mcai.Filter(name="aformat")
        form.add_parameters(sample_rates=16000, channel_layouts="mono", sample_fmts="s16")
        return [mcai.AudioStreamDescriptor(0, [form])]
    def process_frames(self, job_id, stream_index, frames):
        self.frames += len(frames)
        if TOUCH:
            for frame in frames:
                self.bytes += len(frame.data[0])
        return None
    def ending_process(self):
        print(json.dumps({"bench": True, "inside": time.monotonic() - self.begin, "frames": self.frames,
                          "bytes": self.bytes}), flush=True)
"""

OURS = (
    WORKER
    + """
from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.media.session import MediaSession
from mcai_worker_sdk.settings import MediaSettings
values = json.loads(os.environ["BENCH_VALUES"])
worker = BenchWorker.__new__(BenchWorker)
session = MediaSession(worker=worker, job_id=1, parameters=None, values=values,
                       channel=McaiChannel(1, lambda job_id, percent: None), settings=MediaSettings())
session.open()
session.run()
"""
)

THEIRS = (
    WORKER
    + """
if __name__ == "__main__":
    BenchWorker(Parameters, mcai.WorkerDescription(None)).start()
"""
)


def make_inputs(folder, seconds, minutes):
    video, audio = folder / f"video_{seconds}.mp4", folder / f"audio_{minutes}.m4a"
    if not video.exists():
        run(
            [
                "ffmpeg",
                "-y",
                "-v",
                "error",
                "-f",
                "lavfi",
                "-i",
                f"testsrc2=s=1920x1080:r=25:d={seconds}",
                "-vf",
                "noise=alls=10:allf=t",
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-b:v",
                "6M",
                str(video),
            ]
        )
    if not audio.exists():
        length = minutes * 60
        run(
            [
                "ffmpeg",
                "-y",
                "-v",
                "error",
                "-f",
                "lavfi",
                "-i",
                f"sine=440:r=48000:d={length}",
                "-f",
                "lavfi",
                "-i",
                f"anoisesrc=r=48000:d={length}:a=0.1",
                "-filter_complex",
                "[0][1]amerge=2,aformat=channel_layouts=stereo",
                "-c:a",
                "aac",
                "-b:a",
                "128k",
                str(audio),
            ]
        )
    return video, audio


def run(command, env=None):
    """Wall time, CPU time, peak memory and output of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    del before
    if status:
        raise SystemExit(f"{command[0]} ended with status {status}")
    report = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss_mb": usage.ru_maxrss / 1024}
    for line in output.splitlines():
        if '"bench"' in line:
            report.update(json.loads(line[line.index("{") :]))
    return report


def ours(python, kind, source, batch, folder):
    values = {"source_path": str(source), "destination_path": str(folder / "ours.json"), "batch_size": batch}
    env = {**os.environ, "BENCH_KIND": kind, "BENCH_VALUES": json.dumps(values)}
    script = folder / "ours.py"
    script.write_text(
        OURS.replace("mcai.Worker)", "object)")
        .replace("mcai.WorkerParameters", "object")
        .replace("import mcai_worker_sdk as mcai", "import mcai_worker_sdk.media as mcai")
    )
    return run([python, str(script)], env)


def ffmpeg(kind, source):
    command = ["ffmpeg", "-v", "error", "-i", str(source)]
    if kind == "video":
        command += ["-map", "0:v:0", "-vf", VIDEO_FILTERS]
    elif kind == "plain":
        command += ["-map", "0:v:0"]
    else:
        command += ["-map", "0:a:0", "-af", AUDIO_FILTERS]
    return run([*command, "-f", "null", "-"])


def theirs(python, kind, source, batch, folder):
    order = {
        "job_id": 1,
        "parameters": [
            {"id": "source_path", "type": "string", "value": str(source)},
            {"id": "destination_path", "type": "string", "value": str(folder / "theirs.json")},
            {"id": "batch_size", "type": "integer", "value": batch},
        ],
    }
    (folder / "order.json").write_text(json.dumps(order))
    script = folder / "theirs.py"
    script.write_text(THEIRS)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "bench"\nversion = "1.0.0"\ndescription = "bench"\nlicense = {text = "MIT"}\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    )
    env = {**os.environ, "BENCH_KIND": kind, "SOURCE_ORDERS": str(folder / "order.json")}
    previous = Path.cwd()
    os.chdir(folder)
    try:
        return run([python, str(script)], env)
    finally:
        os.chdir(previous)


def show(name, reports):
    def middle(key):
        return statistics.median(report[key] for report in reports)

    frames = reports[0].get("frames")
    line = f"{name:<22} wall {middle('wall'):6.2f} s ({' '.join(format(r['wall'], '.2f') for r in reports)})"
    line += f"  cpu {middle('cpu'):6.2f} s  rss {middle('rss_mb'):4.0f} MB"
    if frames:
        line += f"  inside {middle('inside'):6.2f} s  {frames / middle('inside'):8.1f} frames/s ({frames} frames)"
    print(line, flush=True)
    return middle("wall")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", help="Python interpreter that has the reference SDK's media variant")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--cases", default="video,audio,plain")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mcai-media-bench")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    video, audio = make_inputs(options.folder, options.seconds, options.minutes)
    with installed_package("media") as python:
        for kind, source, batch in (("video", video, 16), ("audio", audio, 64), ("plain", video, 64)):
            if kind in options.cases.split(","):
                compare(python, kind, source, batch, options)


def compare(python, kind, source, batch, options):
    """Run one case with each contender in turn; print their figures."""
    print(f"{kind}, batch {batch}, load {os.getloadavg()[0]:.1f}")
    contenders = {
        "ours": partial(ours, python, kind, source, batch, options.folder),
        "ffmpeg -f null": partial(ffmpeg, kind, source),
    }
    if options.reference and kind != "plain":
        contenders["reference"] = partial(theirs, options.reference, kind, source, batch, options.folder)
    reports = {name: [] for name in contenders}
    for _ in range(options.runs):
        for name, measure in contenders.items():
            reports[name].append(measure())
    walls = {name: show(name, reports[name]) for name in contenders}
    inside = statistics.median(report["inside"] for report in reports["ours"])
    for name in list(walls)[1:]:
        print(
            f"  ours / {name}: {walls['ours'] / walls[name]:.2f} of its wall time; "
            f"{inside / walls[name]:.2f} in a worker that is up"
        )


if __name__ == "__main__":
    main()
