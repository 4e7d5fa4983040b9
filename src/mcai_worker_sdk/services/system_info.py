"""
What the machine is and how busy it is: the ``system_info`` of progressions and of ``worker_status``.

Source of names and units: the recordings, checked against a machine of known figures. Memory is in kB of 1000 bytes
(24,684,096 KiB were published as 25276514), sizes of disks in bytes, frequencies in MHz, usage in whole percents.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import psutil

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.services.gpus import GpuReader

__all__ = ["SystemSampler"]

logger = get_logger("mcai_worker_sdk.services")

T = TypeVar("T")
Figures: TypeAlias = list[dict[str, Any]]

_NOTHING: Figures = []

#: One kB of the protocol, bytes.
BYTES_PER_KB = 1000
#: Between two samples, in seconds.
SAMPLE_SECONDS = 5.0
#: How long a sample waits for what may hang: the size of a disk, the driver of the GPUs.
PATIENCE_SECONDS = 0.5

#: File systems without a disk of their own, and those of the network, whose server may be gone: asking for their size
#: would then hang the sampler for good.
# fmt: off
_UNLISTED_FILE_SYSTEMS = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rootfs", "rpc_pipefs",
    "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs", "tracefs",
    "9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One sample: published whole, never changed."""

    progression: Mapping[str, Any]
    status: Mapping[str, Any]


class SystemSampler:
    """
    Keeps the machine's figures ready.

    :meth:`sample` reads them, :meth:`start` does so every few seconds; the other methods return the last sample at
    once. All may be called on any thread. No sample ever fails: what cannot be read keeps its last value, and the
    reason is logged once.

    A mount without its server, a failing disk or a driver may hold up whoever asks them, for good. So each is asked in
    a thread of its own, and not again before it has answered. None of these threads keeps the process from its end.
    """

    def __init__(self, gpus: GpuReader | None = None) -> None:
        """
        Take a first sample, all but the GPUs, whose driver may be slow to wake.

        Args:
            gpus: Reads the GPUs; tests give their own.
        """
        self._gpus = gpus if gpus is not None else GpuReader()
        self._sampling = threading.Lock()
        self._asking: dict[str, threading.Thread] = {}
        self._failed: set[str] = set()
        self._last: dict[str, Any] = {}
        self._last_cpu_times: list[tuple[float, float]] = []
        # Read once: on large machines the kernel takes milliseconds per core to say the frequencies.
        self._core_facts: Figures = self._read("cores", _describe_cores, _NOTHING)
        self._os_version: str = self._read("operating system", _describe_os, "")
        self._gpu_facts: Figures | None = None
        self._snapshot = self._take(gpu_usage=[])

    def start(self) -> None:
        """Sample every few seconds from now on, until the process ends."""
        threading.Thread(target=self._sample_for_ever, name="mcai-sampler", daemon=True).start()

    def _sample_for_ever(self) -> None:
        never = threading.Event()
        self.sample()
        while not never.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Read everything anew: less than a millisecond of CPU and, the first time, the GPUs' driver's start."""
        with self._sampling:
            gpu_usage = self._ask("GPUs", self._read_gpus, _NOTHING)
            self._snapshot = self._take(gpu_usage)

    def _read_gpus(self) -> Figures:
        usage = self._gpus.usage()
        if self._gpu_facts is None:
            self._gpu_facts = self._gpus.description()
        return usage

    def progression_info(self) -> dict[str, Any]:
        """
        ``system_info`` of a progression: ``cores`` (name, usage %), ``gpus``, ``load_average``, ``memory`` and
        ``swap`` (used, kB), ``networks`` (totals since boot). What it holds is shared: do not change it.
        """
        return dict(self._snapshot.progression)

    def status_info(self, instance_id: str) -> dict[str, Any]:
        """
        ``system_info`` of ``worker_status``: ``cores`` (brand, frequency in MHz, name, vendor_id), ``disks`` (size in
        bytes), ``docker_container_id``, ``gpus``, ``memory`` (kB), ``os_version``. What it holds is shared: do not
        change it.

        Args:
            instance_id: The worker's instance id, published as ``docker_container_id``.
        """
        return {**self._snapshot.status, "docker_container_id": instance_id}

    def _take(self, gpu_usage: Figures) -> _Snapshot:
        no_memory = {"total_memory": 0, "used_memory": 0, "total_swap": 0, "used_swap": 0}
        memory = self._read("memory", _read_memory, no_memory)
        no_load = {"one_minute": 0.0, "five_minute": 0.0, "fifteen_minute": 0.0}
        return _Snapshot(
            progression={
                "cores": self._read("core usage", self._read_core_usage, _NOTHING),
                "gpus": gpu_usage,
                "load_average": self._read("load average", _read_load, no_load),
                "memory": memory["used_memory"],
                "networks": self._read("networks", _read_networks, _NOTHING),
                "swap": memory["used_swap"],
            },
            status={
                "cores": self._core_facts,
                "disks": self._read("disks", self._read_disks, _NOTHING),
                "gpus": self._gpu_facts or [],
                "memory": memory,
                "os_version": self._os_version,
            },
        )

    def _read(self, part: str, reader: Callable[[], T], nothing: T) -> T:
        try:
            figures = reader()
        except Exception as error:  # noqa: BLE001 - containers hide parts of /proc in many ways, none a reason to stop
            if part not in self._failed:
                self._failed.add(part)
                logger.warning("The system information has no %s: %s: %s.", part, type(error).__name__, error)
            kept: T = self._last.get(part, nothing)
            return kept
        self._last[part] = figures
        return figures

    def _ask(self, part: str, reader: Callable[[], T], nothing: T) -> T:
        """Read a part in a thread of its own; its last value when it takes longer than a moment."""
        asked = self._asking.get(part)
        if asked is None or not asked.is_alive():
            asked = threading.Thread(target=self._read, args=(part, reader, nothing), name="mcai-figure", daemon=True)
            self._asking[part] = asked
            asked.start()
            asked.join(PATIENCE_SECONDS)
            if asked.is_alive() and part not in self._failed:
                self._failed.add(part)
                logger.warning("The system information has no %s: it does not answer.", part)
        last: T = self._last.get(part, nothing)
        return last

    def _read_disks(self) -> Figures:
        mounted = {
            partition.mountpoint: partition
            for partition in psutil.disk_partitions(all=True)
            if partition.fstype not in _UNLISTED_FILE_SYSTEMS and not partition.fstype.startswith("fuse.")
        }
        disks = [
            self._ask(f"disk {mountpoint}", functools.partial(_read_disk, partition), None)
            for mountpoint, partition in mounted.items()
        ]
        return [disk for disk in disks if disk is not None]

    def _read_core_usage(self) -> Figures:
        """Busy share of each core since the last sample, or since boot for the first one."""
        now = [_busy_and_total(times) for times in psutil.cpu_times(percpu=True)]
        before = self._last_cpu_times if len(self._last_cpu_times) == len(now) else [(0.0, 0.0)] * len(now)
        self._last_cpu_times = now
        return [
            {"name": f"cpu{index}", "usage": _percent(busy - busy_before, total - total_before)}
            for index, ((busy, total), (busy_before, total_before)) in enumerate(zip(now, before, strict=True))
        ]


def _busy_and_total(times: Any) -> tuple[float, float]:
    # The kernel counts guest time within user time, and waiting for a disk as a kind of idleness.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _percent(part: float, whole: float) -> int:
    # Counters of some virtual machines run backwards now and then.
    return max(0, min(100, round(100 * part / whole))) if whole > 0 else 0


def _read_memory() -> dict[str, int]:
    memory = psutil.virtual_memory()
    swap = psutil.swap_memory()
    # What the page cache holds is not "used" here: the figure an operator knows from the reference.
    reclaimable = getattr(memory, "buffers", 0) + getattr(memory, "cached", 0)
    used = max(0, memory.total - memory.free - reclaimable)
    return {
        "total_memory": memory.total // BYTES_PER_KB,
        "used_memory": used // BYTES_PER_KB,
        "total_swap": swap.total // BYTES_PER_KB,
        "used_swap": swap.used // BYTES_PER_KB,
    }


def _read_load() -> dict[str, float]:
    one, five, fifteen = (round(load, 2) for load in os.getloadavg())
    return {"one_minute": one, "five_minute": five, "fifteen_minute": fifteen}


def _read_networks() -> Figures:
    return [
        {
            "name": name,
            "total_bytes_received": counters.bytes_recv,
            "total_bytes_transmitted": counters.bytes_sent,
            "total_packets_received": counters.packets_recv,
            "total_packets_transmitted": counters.packets_sent,
        }
        for name, counters in psutil.net_io_counters(pernic=True, nowrap=False).items()
    ]


def _read_disk(partition: Any) -> dict[str, Any] | None:
    """One disk; ``None`` for a single file that a container runtime mounted, such as ``/etc/hosts``."""
    try:
        if not Path(partition.mountpoint).is_dir():
            return None
        size = psutil.disk_usage(partition.mountpoint).total
    except OSError:
        return None
    return {
        "disk_type": _disk_type(partition.device),
        "format": partition.fstype,
        "mountpoint": partition.mountpoint,
        "size": size,
    }


def _disk_type(device: str) -> str:
    """``HDD`` or ``SSD`` as the kernel sees it, ``unknown`` where no block device is behind it."""
    if not device.startswith("/dev/"):
        return "unknown"
    block = Path("/sys/class/block", Path(os.path.realpath(device)).name).resolve()
    for folder in (block, block.parent):  # a partition's queue is its disk's
        try:
            return "HDD" if (folder / "queue" / "rotational").read_text().strip() == "1" else "SSD"
        except OSError:
            continue
    return "unknown"


def _describe_cores() -> Figures:
    brands, vendors = _read_cpuinfo("model name"), _read_cpuinfo("vendor_id")
    frequencies = psutil.cpu_freq(percpu=True) or []
    return [
        {
            "brand": brands[index] if index < len(brands) else "",
            "frequency": int(frequencies[index].current) if index < len(frequencies) else 0,
            "name": f"cpu{index}",
            "vendor_id": vendors[index] if index < len(vendors) else "",
        }
        for index in range(psutil.cpu_count() or 0)
    ]


def _read_cpuinfo(key: str) -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [value.strip() for value in re.findall(rf"^{re.escape(key)}\s*:(.*)$", text, re.MULTILINE)]


def _describe_os() -> str:
    """System, version and name of the distribution: ``Linux 12 Debian GNU/Linux``."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    words = (platform.system(), release.get("VERSION_ID", ""), release.get("NAME", ""))
    return " ".join(word for word in words if word)
