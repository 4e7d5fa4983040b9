"""Stand-ins for NVIDIA's ``pynvml``: modules with the functions that the SDK calls, and figures to recognise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["nvml_module"]


class NvmlError(Exception):
    """What the binding raises."""


@contextmanager
def nvml_module(
    *, gpu_count: int = 1, broken_driver: bool = False, without: tuple[str, ...] = (), as_bytes: bool = False
) -> Iterator[str]:
    """
    Make a binding of NVML importable.

    Args:
        gpu_count: How many GPUs it has.
        broken_driver: ``nvmlInit`` fails.
        without: Functions that say "not supported".
        as_bytes: Texts are bytes, as in old bindings.

    Yields:
        The module's name.
    """
    name = "stand_in_pynvml"
    sys.modules[name] = _build(name, gpu_count, broken_driver, without, as_bytes)
    try:
        yield name
    finally:
        del sys.modules[name]


def _build(name: str, gpu_count: int, broken_driver: bool, without: tuple[str, ...], as_bytes: bool) -> ModuleType:
    def text(value: str) -> str | bytes:
        return value.encode() if as_bytes else value

    def initialise() -> None:
        if broken_driver:
            raise NvmlError("Driver Not Loaded")

    functions: dict[str, Any] = {
        "nvmlInit": initialise,
        "nvmlDeviceGetCount": lambda: gpu_count,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetName": lambda handle: text(f"GPU of {handle}"),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(
            total=8_000_000_000, free=6_000_000_000, used=2_000_000_000
        ),
        "nvmlDeviceGetClockInfo": lambda _, clock: 1000 + clock,
        "nvmlDeviceGetMaxClockInfo": lambda _, clock: 2000 + clock,
        "nvmlSystemGetDriverVersion": lambda: text("535.104.05"),
        "nvmlSystemGetCudaDriverVersion": lambda: 12020,
    }

    def unsupported(*_: object) -> None:
        raise NvmlError("Not Supported")

    module = ModuleType(name)
    vars(module).update(functions)
    vars(module).update(dict.fromkeys(without, unsupported))
    vars(module).update(NVML_CLOCK_GRAPHICS=0, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_CLOCK_VIDEO=3)
    return module
