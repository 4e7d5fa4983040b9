"""
Every environment variable the SDK reads: ``tables`` has them as typed, frozen objects.

Nothing outside this room reads ``os.environ``.
"""

from mcai_worker_sdk.settings.documentation import EnvironmentTable, EnvironmentVariable, environment_tables
from mcai_worker_sdk.settings.proxies import NO_PROXIES, Proxies, Proxy
from mcai_worker_sdk.settings.tables import (
    AmqpSettings,
    BackendSettings,
    HttpSettings,
    JobSettings,
    LogSettings,
    MediaSettings,
    ProxySettings,
    Settings,
    StoreSettings,
)

__all__ = [
    "NO_PROXIES",
    "AmqpSettings",
    "BackendSettings",
    "EnvironmentTable",
    "EnvironmentVariable",
    "HttpSettings",
    "JobSettings",
    "LogSettings",
    "MediaSettings",
    "Proxies",
    "Proxy",
    "ProxySettings",
    "Settings",
    "StoreSettings",
    "environment_tables",
]
