"""Decoding by a device, where there is one."""

from __future__ import annotations

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available

from mcai_worker_sdk.logs import get_logger

__all__ = ["usable_hwaccel"]

_logger = get_logger(__name__)

#: A codec every such device decodes: with it the device is tried out.
_COMMON_CODEC = "h264"


def usable_hwaccel(device_type: str | None) -> HWAccel | None:
    """
    The device that shall decode, tried out first.

    Pictures it decodes are brought into main memory. What it cannot decode the CPU decodes.

    Args:
        device_type: FFmpeg's name (``cuda``), ``None`` for the CPU.

    Returns:
        The device; ``None``, with a warning, when it cannot be used here.
    """
    if device_type is None:
        return None
    fault: object = f"the FFmpeg of PyAV knows {', '.join(hwdevices_available())}"
    # PyAV takes any device for one whose name FFmpeg does not know.
    if device_type in hwdevices_available():
        try:
            device = HWAccel(device_type, allow_software_fallback=True)
            device.create(av.Codec(_COMMON_CODEC, "r"))
        except (av.error.FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
            fault = error
        else:
            return device
    _logger.warning("No %s device can decode here (%s); the CPU decodes instead", device_type, fault)
    return None
