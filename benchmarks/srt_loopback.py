"""
A live job over SRT on loopback: is every frame there, when does it start, what does it cost.

    python benchmarks/srt_loopback.py [--seconds 16] [--kbits 6000] [--mode listener|caller] [--options latency=200]

The same job reads the same clip from disk and over SRT from the ffmpeg command, each in a process of its own; the
difference of their processor time is the price of SRT. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.media import AudioStreamDescriptor, VideoStreamDescriptor
from mcai_worker_sdk.media.session import MediaSession
from mcai_worker_sdk.settings import MediaSettings


class CountingWorker:
    """Counts frames; does nothing with them."""

    def __init__(self):
        self.counts = {"video": 0, "audio": 0}
        self.kinds = {}
        self.opened_at = 0.0

    def init_process(self, context, parameters):
        self.opened_at = time.monotonic()
        descriptors = []
        for stream in context.streams:
            is_video = stream.kind == "AVMEDIA_TYPE_VIDEO"
            self.kinds[stream.index] = "video" if is_video else "audio"
            descriptors.append((VideoStreamDescriptor if is_video else AudioStreamDescriptor)(stream.index, []))
        return descriptors

    def process_frames(self, job_id, stream_index, frames):
        self.counts[self.kinds[stream_index]] += len(frames)

    def ending_process(self):
        pass


def run_job(source, connection):
    with tempfile.TemporaryDirectory() as folder:
        worker = CountingWorker()
        values = {"source_path": source, "destination_path": str(Path(folder) / "out.json")}
        session = MediaSession(
            worker=worker,
            job_id=1,
            parameters=object(),
            values=values,
            channel=McaiChannel(1, lambda *_: None),
            settings=MediaSettings(),
        )
        started_at = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF)
        session.open()
        session.run()
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        connection.send(
            {
                **worker.counts,
                "cpu_seconds": round(cpu_seconds, 2),
                "wall_seconds": round(time.monotonic() - started_at, 2),
                "opened_after_seconds": round(worker.opened_at - started_at, 2),
                "peak_rss_mb": after.ru_maxrss // 1024,
            }
        )


def measure(source, peer_command=None):
    ours, theirs = multiprocessing.Pipe()
    job = multiprocessing.get_context("spawn").Process(target=run_job, args=(source, theirs))
    # A listening peer has to stand before it is called, a calling one tries again until the job listens.
    peer = subprocess.Popen(peer_command, stdin=subprocess.DEVNULL) if peer_command else None
    job.start()
    theirs.close()
    measured = ours.recv()
    job.join()
    if peer is not None:
        peer.wait()
    return measured


def make_clip(path, seconds, kbits):
    video_kbits = kbits - 350
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=s=1280x720:r=25:d={seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=440:r=48000:d={seconds}", "-c:v", "libx264", "-preset", "veryfast"]
    command += ["-b:v", f"{video_kbits}k", "-minrate", f"{video_kbits}k", "-maxrate", f"{video_kbits}k"]
    command += ["-bufsize", "1M", "-x264-params", "nal-hrd=cbr", "-pix_fmt", "yuv420p", "-g", "50"]
    command += ["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "mpegts", path]
    subprocess.run(command, check=True)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=16)
    parser.add_argument("--kbits", type=int, default=6000)
    parser.add_argument("--mode", choices=["listener", "caller"], default="listener")
    parser.add_argument("--options", default="latency=200", help="options of our URL")
    parser.add_argument("--peer-options", default="linger=10&connect_timeout=20000", help="options of ffmpeg's URL")
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        clip = str(Path(folder) / "clip.ts")
        make_clip(clip, arguments.seconds, arguments.kbits)
        bits = Path(clip).stat().st_size * 8
        peer_mode = "caller" if arguments.mode == "listener" else "listener"
        peer = f"srt://127.0.0.1:{port}?mode={peer_mode}&{arguments.peer_options}"
        host = "" if arguments.mode == "listener" else "127.0.0.1"
        url = f"srt://{host}:{port}?connect_timeout=20000&{arguments.options}"
        from_disk = measure(clip)
        live = measure(url, ["ffmpeg", "-v", "error", "-re", "-i", clip, "-c", "copy", "-f", "mpegts", peer])
    cpu_beyond = (live["cpu_seconds"] - from_disk["cpu_seconds"]) / live["wall_seconds"]
    report = {
        "mode": arguments.mode,
        "clip_seconds": arguments.seconds,
        "clip_mbits_per_second": round(bits / arguments.seconds / 1e6, 2),
        "from_disk": from_disk,
        "over_srt": live,
        "core_percent_beyond_decoding": round(100 * cpu_beyond, 1),
        "is_complete": all(live[kind] == from_disk[kind] for kind in ("video", "audio")),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
