"""NVIDIA GPUs, through the ``gpu`` extra and the driver when both are there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mcai_worker_sdk.errors import UnsupportedVersionError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.versions import check_versions

__all__ = ["GpuReader"]

logger = get_logger("mcai_worker_sdk.services")


class GpuReader:
    """
    Reads name, memory and clocks of each GPU. Without ``pynvml``, driver or permission there are none.

    Not thread-safe; :class:`SystemSampler` calls it under its lock. The driver is initialised by the first reading,
    which can take a second on a machine without persistence mode.

    Source of names and units: what the reference 2.1.1 publishes when the driver library answers with known figures.
    Memory is in bytes here, unlike the machine's own, clocks are in MHz, the CUDA version is the driver's integer
    (12020 is 12.2). A figure that a GPU does not have is ``None``.
    """

    def __init__(self, module_name: str = "pynvml") -> None:
        """
        Args:
            module_name: The binding of NVML; tests name their own.
        """
        self._module_name = module_name
        self._nvml: ModuleType | None = None
        self._handles: tuple[Any, ...] = ()
        self._tried = False

    def usage(self) -> list[dict[str, Any]]:
        """``name``, ``memory`` (used, bytes) and current clocks (MHz) of each GPU: the form in progressions."""
        return [
            {
                "name": self._name(handle),
                "memory": self._memory(handle, "used"),
                **self._clocks("clock_speed", "nvmlDeviceGetClockInfo", handle),
            }
            for handle in self._devices()
        ]

    def description(self) -> list[dict[str, Any]]:
        """``name``, ``memory`` (total, bytes), driver versions and highest clocks (MHz): the form in the status."""
        return [
            {
                "name": self._name(handle),
                "memory": self._memory(handle, "total"),
                "driver_version": self._figure(lambda nvml: _text(nvml.nvmlSystemGetDriverVersion())),
                "cuda_driver_version": self._figure(lambda nvml: nvml.nvmlSystemGetCudaDriverVersion()),
                **self._clocks("max_clock_speed", "nvmlDeviceGetMaxClockInfo", handle),
            }
            for handle in self._devices()
        ]

    def _devices(self) -> tuple[Any, ...]:
        if not self._tried:
            self._tried = True
            try:
                nvml = importlib.import_module(self._module_name)
                check_versions("gpu")
                nvml.nvmlInit()
                self._handles = tuple(nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount()))
                self._nvml = nvml
            except UnsupportedVersionError as error:
                logger.warning("GPUs are not looked for: %s", error)
            except ImportError:
                logger.debug("GPUs are not looked for: the module %s is not installed.", self._module_name)
            except Exception as error:  # noqa: BLE001 - a broken driver must not touch the worker
                logger.debug("GPUs cannot be read: %s: %s.", type(error).__name__, error)
        return self._handles

    def _name(self, handle: Any) -> str:
        return str(self._figure(lambda nvml: _text(nvml.nvmlDeviceGetName(handle))) or "")

    def _memory(self, handle: Any, part: str) -> int | None:
        figure: int | None = self._figure(lambda nvml: int(getattr(nvml.nvmlDeviceGetMemoryInfo(handle), part)))
        return figure

    def _clocks(self, prefix: str, function: str, handle: Any) -> Mapping[str, int | None]:
        def read(clock: str) -> int | None:
            figure = self._figure(lambda nvml: getattr(nvml, function)(handle, getattr(nvml, f"NVML_CLOCK_{clock}")))
            return None if figure is None else int(figure)

        return {
            f"{prefix}_memory": read("MEM"),
            f"{prefix}_sm": read("SM"),
            f"{prefix}_graphics": read("GRAPHICS"),
            f"{prefix}_video": read("VIDEO"),
        }

    def _figure(self, read: Callable[[ModuleType], Any]) -> Any:
        if self._nvml is None:
            return None
        try:
            return read(self._nvml)
        except Exception as error:  # noqa: BLE001 - "not supported" is the answer of many GPUs to some question
            logger.debug("A figure of a GPU cannot be read: %s: %s.", type(error).__name__, error)
            return None


def _text(value: Any) -> str:
    # Older bindings give bytes.
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
