"""
Every exception of the SDK.

::

    WorkerSdkError
    ├── ConfigurationError            start() is refused
    │   ├── SettingsError             (ValueError) an environment variable
    │   ├── DescriptionError          (ValueError) pyproject.toml or package metadata
    │   ├── WorkerDefinitionError     (TypeError)  the worker's class or its parameters class
    │   ├── MissingExtraError         (ImportError) an optional part is not installed
    │   └── UnsupportedVersionError   (ImportError) a dependency is too old or too new
    ├── ProtocolError                 (ValueError) bytes that are not an order
    ├── JobError                      one job ends in ``job_error``; the worker lives on
    │   ├── ParameterError            (ValueError) the order's parameters
    │   ├── CredentialError           a parameter's ``store`` gave no value
    │   ├── ResultError               (ValueError) what ``process`` returned
    │   └── MediaError                the media source, its filters, its destination
    │       ├── MediaSourceError
    │       ├── MediaFilterError      (ValueError)
    │       ├── MediaDestinationError
    │       └── MediaTimeoutError     (TimeoutError)
    ├── BackendError                  the StepFlow backend did not answer as it should
    ├── ExchangeError                 (ConnectionError) the broker, its queues, the connection
    └── HostError                     (RuntimeError) the job process

A message reads ``<thing> <name> is <value>; expected <rule>. <What to do>.``
No message holds a password, a token or the value of a credential.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BackendError",
    "ConfigurationError",
    "CredentialError",
    "DescriptionError",
    "ExchangeError",
    "HostError",
    "JobError",
    "MediaDestinationError",
    "MediaError",
    "MediaFilterError",
    "MediaSourceError",
    "MediaTimeoutError",
    "MissingExtraError",
    "ParameterError",
    "ProtocolError",
    "ResultError",
    "SettingsError",
    "UnsupportedVersionError",
    "WorkerDefinitionError",
    "WorkerSdkError",
]


class WorkerSdkError(Exception):
    """Root of everything the SDK raises on purpose."""


class ConfigurationError(WorkerSdkError):
    """Raised when a worker cannot start as it is written, described or configured."""


class SettingsError(ConfigurationError, ValueError):
    """Raised when an environment variable has a value that is not allowed."""


class DescriptionError(ConfigurationError, ValueError):
    """Raised when the worker's name, version or licence cannot be read."""


class WorkerDefinitionError(ConfigurationError, TypeError):
    """Raised when the worker's class or its parameters class is not usable."""


class MissingExtraError(ConfigurationError, ImportError):
    """
    Raised when an optional part of the SDK is needed and not installed.

    Args:
        feature: What was asked for, in words ("A media worker").
        extra: The extra that brings it (``media``).
        missing: The module that could not be imported.
    """

    def __init__(self, feature: str, *, extra: str, missing: str) -> None:
        super().__init__(
            f"{feature} needs the module {missing!r}, which is not installed. "
            f'Install it with: pip install "mcai-worker-sdk[{extra}]".'
        )
        self.extra = extra
        self.missing = missing


class UnsupportedVersionError(ConfigurationError, ImportError):
    """
    Raised when a dependency is installed in a version that the SDK does not run on.

    Args:
        found: Name, installed version and supported range of each such dependency.
    """

    def __init__(self, found: Sequence[tuple[str, str, str]]) -> None:
        faults = " ".join(f"The installed {name} is {version}; expected {wanted}." for name, version, wanted in found)
        packages = " ".join(f'"{name}{wanted}"' for name, _, wanted in found)
        super().__init__(f"{faults} Install a supported version with: pip install {packages}")
        self.found = found


class ProtocolError(WorkerSdkError, ValueError):
    """
    Raised when bytes are not an order of the protocol.

    Args:
        message: What is wrong, where, and what was expected.
        job_id: The job's id, when one could be read in spite of the fault.
    """

    def __init__(self, message: str, *, job_id: int | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobError(WorkerSdkError):
    """Raised when one job cannot be done. Its text is what the orchestrator shows."""


class ParameterError(JobError, ValueError):
    """Raised when an order's parameters do not fit the worker's; names every wrong field."""


class CredentialError(JobError):
    """Raised when a credential store gives no value; names the store and the key, never a value."""


class ResultError(JobError, ValueError):
    """Raised when what ``process`` returned cannot be published; names the entry, its kind, its value."""


class MediaError(JobError):
    """Raised when media cannot be read, filtered or written."""


class MediaSourceError(MediaError):
    """Raised when a source cannot be opened or read to its end."""


class MediaFilterError(MediaError, ValueError):
    """Raised when a stream descriptor or one of its filters is refused."""


class MediaDestinationError(MediaError):
    """Raised when results cannot be written to the destination."""


class MediaTimeoutError(MediaError, TimeoutError):
    """Raised when a live source or destination stays silent for too long."""


class BackendError(WorkerSdkError):
    """Raised when the StepFlow backend cannot be reached or answers out of form."""


class ExchangeError(WorkerSdkError, ConnectionError):
    """Raised when the broker refuses the connection, a queue or a message."""


class HostError(WorkerSdkError, RuntimeError):
    """Raised when the job process cannot be started or does not answer."""
