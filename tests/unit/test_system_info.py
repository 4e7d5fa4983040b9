"""The machine's figures, compared with what the kernel says of this machine."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcai_worker_sdk.services import system_info
from mcai_worker_sdk.services.gpus import GpuReader
from mcai_worker_sdk.services.system_info import SystemSampler
from tests.support.nvml import nvml_module

#: As the reference published them, with shorter lists.
RECORDED_PROGRESSION: dict[str, Any] = {
    "cores": [{"name": "cpu0", "usage": 100}],
    "gpus": [],
    "load_average": {"fifteen_minute": 0.88, "five_minute": 0.91, "one_minute": 0.45},
    "memory": 505595,
    "networks": [
        {
            "name": "eth0",
            "total_bytes_received": 156857568,
            "total_bytes_transmitted": 390833,
            "total_packets_received": 5211,
            "total_packets_transmitted": 4223,
        }
    ],
    "swap": 0,
}
RECORDED_STATUS: dict[str, Any] = {
    "cores": [{"brand": "AMD EPYC", "frequency": 2249, "name": "cpu0", "vendor_id": "AuthenticAMD"}],
    "disks": [{"disk_type": "HDD", "format": "ext4", "mountpoint": "/", "size": 270553174016}],
    "docker_container_id": "53ff7e19-c18f-465e-8f23-589b970eacb1",
    "gpus": [],
    "memory": {"total_memory": 25276514, "total_swap": 0, "used_memory": 522299, "used_swap": 0},
    "os_version": "Linux 12 Debian GNU/Linux",
}


def _shape(value: Any) -> Any:
    """Names and JSON types; every entry of a list has to have the same."""
    if isinstance(value, dict):
        return {name: _shape(member) for name, member in sorted(value.items())}
    if isinstance(value, list):
        return [json.loads(shape) for shape in sorted({json.dumps(_shape(entry)) for entry in value})]
    return type(value).__name__


@pytest.fixture
def sampler() -> SystemSampler:
    return SystemSampler(GpuReader("a_module_that_is_not_installed"))


def test_progressions_have_the_recorded_shape(sampler: SystemSampler) -> None:
    sampler.sample()

    assert _shape(sampler.progression_info()) == _shape(RECORDED_PROGRESSION)


def test_the_status_has_the_recorded_shape(sampler: SystemSampler) -> None:
    sampler.sample()
    status = sampler.status_info("53ff7e19")

    assert {**_shape(status), "disks": None} == {**_shape(RECORDED_STATUS), "disks": None}
    assert _shape(status["disks"]) in ([], _shape(RECORDED_STATUS["disks"]))  # some containers show none
    assert status["docker_container_id"] == "53ff7e19"


def test_figures_are_there_before_the_first_sample(sampler: SystemSampler) -> None:
    assert sampler.progression_info()["cores"] != []
    assert sampler.status_info("id")["memory"]["total_memory"] > 0


def test_memory_is_counted_in_kilobytes_of_a_thousand_bytes(sampler: SystemSampler) -> None:
    kib = int(re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())[1])  # type: ignore[index]

    memory = sampler.status_info("id")["memory"]

    assert memory["total_memory"] == kib * 1024 // 1000
    assert 0 < memory["used_memory"] < memory["total_memory"]
    assert sampler.progression_info()["memory"] == memory["used_memory"]


def test_memory_of_the_page_cache_is_not_used_memory(sampler: SystemSampler) -> None:
    memory = psutil.virtual_memory()
    taken = memory.total - memory.free  # with the cache

    assert sampler.progression_info()["memory"] * 1000 <= taken - memory.cached // 2


def test_sizes_of_disks_are_in_bytes(sampler: SystemSampler) -> None:
    disks = {disk["mountpoint"]: disk for disk in sampler.status_info("id")["disks"]}
    if "/" not in disks:
        pytest.skip("this container shows no root file system")

    facts = os.statvfs("/")

    assert disks["/"]["size"] == facts.f_blocks * facts.f_frsize
    assert disks["/"]["disk_type"] in {"HDD", "SSD", "unknown"}


def test_file_systems_without_a_disk_are_not_listed(sampler: SystemSampler) -> None:
    mountpoints = {disk["mountpoint"] for disk in sampler.status_info("id")["disks"]}

    assert mountpoints.isdisjoint({"/proc", "/sys", "/dev", "/dev/shm", "/dev/pts"})


def test_cores_are_numbered_like_the_kernels(sampler: SystemSampler) -> None:
    names = [f"cpu{index}" for index in range(psutil.cpu_count() or 0)]

    assert [core["name"] for core in sampler.progression_info()["cores"]] == names
    assert [core["name"] for core in sampler.status_info("id")["cores"]] == names


def test_a_core_at_work_shows_a_high_usage(sampler: SystemSampler) -> None:
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    os.sched_setaffinity(0, {core})
    try:
        sampler.sample()
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass
        sampler.sample()
    finally:
        os.sched_setaffinity(0, allowed)

    usage = {entry["name"]: entry["usage"] for entry in sampler.progression_info()["cores"]}
    assert 50 < usage[f"cpu{core}"] <= 100


def test_networks_are_those_of_the_kernel_with_totals_that_do_not_shrink(sampler: SystemSampler) -> None:
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    expected = {name.strip(): int(counters.split()[0]) for name, _, counters in (line.partition(":") for line in lines)}

    sampler.sample()

    networks = {network["name"]: network["total_bytes_received"] for network in sampler.progression_info()["networks"]}
    assert networks.keys() == expected.keys()
    assert all(networks[name] >= received for name, received in expected.items())


def test_the_system_is_named_with_version_and_distribution(sampler: SystemSampler) -> None:
    assert sampler.status_info("id")["os_version"].startswith("Linux ")


def test_a_part_that_cannot_be_read_keeps_its_last_value_and_is_logged_once(
    sampler: SystemSampler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = sampler.progression_info()["networks"]

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(psutil, "net_io_counters", refuse)
    sampler.sample()
    sampler.sample()

    assert sampler.progression_info()["networks"] == before
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "The system information has no networks: PermissionError: [Errno 13] Permission denied."
    ]


def test_a_disk_that_does_not_answer_keeps_its_last_value_and_holds_up_nothing_else(
    sampler: SystemSampler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disks = [type("Partition", (), {"mountpoint": path, "fstype": "ext4", "device": "x"}) for path in ("/", "/tmp")]
    answers, asked = threading.Event(), []
    ask = psutil.disk_usage

    def hang(path: str) -> Any:
        asked.append(path)
        if path == "/tmp":
            answers.wait(30)
        return ask(path)

    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: disks)
    monkeypatch.setattr(psutil, "disk_usage", hang)
    monkeypatch.setattr(system_info, "PATIENCE_SECONDS", 0.1)
    for _ in range(3):
        sampler.sample()

    assert [disk["mountpoint"] for disk in sampler.status_info("id")["disks"]] == ["/"]
    # It is not asked again before it has answered.
    assert (asked.count("/"), asked.count("/tmp")) == (3, 1)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "The system information has no disk /tmp: it does not answer."
    ]

    answers.set()
    sampler._asking["disk /tmp"].join()
    sampler.sample()

    assert [disk["mountpoint"] for disk in sampler.status_info("id")["disks"]] == ["/", "/tmp"]


def test_a_driver_that_does_not_answer_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(GpuReader):
        def usage(self) -> list[dict[str, Any]]:
            answers.wait(30)
            return []

    answers = threading.Event()
    monkeypatch.setattr(system_info, "PATIENCE_SECONDS", 0.1)
    sampler = SystemSampler(Hanging("a_module_that_is_not_installed"))
    before = sampler.progression_info()
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    sampler.sample()

    assert sampler.progression_info()["gpus"] == before["gpus"] == []
    assert sampler.progression_info()["load_average"]["one_minute"] == 1000.0
    answers.set()


STUCK = """
import threading, psutil
psutil.disk_usage = lambda _path: threading.Event().wait()
from mcai_worker_sdk.services import system_info
system_info.PATIENCE_SECONDS = 0.1
system_info.SystemSampler().start()
"""


def test_a_disk_that_does_not_answer_keeps_no_process_from_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], timeout=50, check=False)

    assert done.returncode == 0


def test_a_machine_that_hides_everything_still_gives_the_whole_form(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("hidden")

    for name in ("cpu_times", "cpu_freq", "virtual_memory", "swap_memory", "net_io_counters", "disk_partitions"):
        monkeypatch.setattr(psutil, name, refuse)
    monkeypatch.setattr(os, "getloadavg", refuse)

    sampler = SystemSampler(GpuReader("a_module_that_is_not_installed"))
    sampler.sample()

    progression, status = sampler.progression_info(), sampler.status_info("id")
    assert progression.keys() == RECORDED_PROGRESSION.keys()
    assert status.keys() == RECORDED_STATUS.keys()
    assert status["memory"] == dict.fromkeys(RECORDED_STATUS["memory"], 0)
    assert len(caplog.records) == 6


def test_readers_on_other_threads_always_see_a_whole_sample(sampler: SystemSampler) -> None:
    done = threading.Event()
    seen: list[tuple[Any, Any]] = []

    def read() -> None:
        while not done.is_set():
            seen.append((sampler.progression_info(), sampler.status_info("id")))
            done.wait(0.001)

    def sample() -> None:
        for _ in range(20):
            sampler.sample()

    readers = [threading.Thread(target=read) for _ in range(2)]
    samplers = [threading.Thread(target=sample) for _ in range(2)]
    for thread in (*readers, *samplers):
        thread.start()
    for thread in samplers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()

    assert seen
    for progression, status in seen:
        assert _shape(progression) == _shape(RECORDED_PROGRESSION)
        assert status.keys() == RECORDED_STATUS.keys()


def test_the_returned_dict_is_the_callers_own(sampler: SystemSampler) -> None:
    sampler.progression_info().clear()
    sampler.status_info("id").clear()

    assert sampler.progression_info().keys() == RECORDED_PROGRESSION.keys()
    assert sampler.status_info("id").keys() == RECORDED_STATUS.keys()


# GPUs


def test_gpus_are_published_as_the_reference_does() -> None:
    with nvml_module() as name:
        sampler = SystemSampler(GpuReader(name))
        assert sampler.progression_info()["gpus"] == []  # the driver is not woken before the first sample
        sampler.sample()

    assert sampler.progression_info()["gpus"] == [
        {
            "name": "GPU of handle 0",
            "memory": 2_000_000_000,
            "clock_speed_memory": 1002,
            "clock_speed_sm": 1001,
            "clock_speed_graphics": 1000,
            "clock_speed_video": 1003,
        }
    ]
    assert sampler.status_info("id")["gpus"] == [
        {
            "name": "GPU of handle 0",
            "memory": 8_000_000_000,
            "driver_version": "535.104.05",
            "cuda_driver_version": 12020,
            "max_clock_speed_memory": 2002,
            "max_clock_speed_sm": 2001,
            "max_clock_speed_graphics": 2000,
            "max_clock_speed_video": 2003,
        }
    ]


def test_every_gpu_is_listed() -> None:
    with nvml_module(gpu_count=3) as name:
        assert [gpu["name"] for gpu in GpuReader(name).usage()] == [f"GPU of handle {index}" for index in range(3)]


def test_texts_of_old_bindings_are_decoded() -> None:
    with nvml_module(as_bytes=True) as name:
        gpu = GpuReader(name).description()[0]

    assert (gpu["name"], gpu["driver_version"]) == ("GPU of handle 0", "535.104.05")


def test_a_figure_that_a_gpu_does_not_have_is_null() -> None:
    with nvml_module(without=("nvmlDeviceGetClockInfo", "nvmlSystemGetDriverVersion")) as name:
        reader = GpuReader(name)

        assert reader.usage()[0]["clock_speed_sm"] is None
        assert reader.usage()[0]["memory"] == 2_000_000_000
        assert reader.description()[0]["driver_version"] is None
        assert reader.description()[0]["max_clock_speed_sm"] == 2001


def test_without_a_driver_there_are_no_gpus() -> None:
    with nvml_module(broken_driver=True) as name:
        sampler = SystemSampler(GpuReader(name))
        sampler.sample()

    assert sampler.progression_info()["gpus"] == []
    assert sampler.status_info("id")["gpus"] == []
