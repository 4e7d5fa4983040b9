"""
Every environment variable the SDK reads, as one typed, frozen object; nothing else reads ``os.environ``.

A variable that is unset and one that is empty mean the same: the default. One table of the documentation is one model
here, one row is one field, so that ``documentation`` can write the tables and nobody has to keep them in step.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from mcai_worker_sdk.errors import SettingsError
from mcai_worker_sdk.settings.near_misses import near_misses
from mcai_worker_sdk.settings.proxies import Proxies

__all__ = [
    "AmqpSettings",
    "BackendSettings",
    "HttpSettings",
    "JobSettings",
    "LogSettings",
    "MediaSettings",
    "ProxySettings",
    "Settings",
    "StoreSettings",
    "Table",
    "allowed_words",
    "default_words",
    "tables",
    "variables_of",
]


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a field takes, in words: for the documentation and for :class:`SettingsError`."""

    words: str


_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
#: ``trace`` is a level of the Rust core's logger only; Python's nearest is DEBUG.
_RUST_LEVELS = {"TRACE": logging.DEBUG, **_LEVELS}
_CERTIFICATE = "-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----"


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _level(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.strip().upper() not in _LEVELS:
        raise ValueError("not a level")
    return _LEVELS[value.strip().upper()]


def _pem_file(path: Path | None) -> Path | None:
    try:
        if path is None or re.search(_CERTIFICATE, path.read_text(encoding="ascii", errors="replace")):
            return path
    except OSError as error:
        raise ValueError("not a readable file") from error
    raise ValueError("no certificate in it")


def _paths(value: object) -> object:
    if not isinstance(value, str):
        return value
    paths = [part for part in value.split(os.pathsep) if part]
    if not paths:
        raise ValueError("no path")
    return paths


_Text = Annotated[str, _Allowed("any text")]
_Secret = Annotated[SecretStr, _Allowed("any text")]
_Switch = Annotated[bool, BeforeValidator(_lower), _Allowed("true or false (also 1/0, yes/no, on/off, in any case)")]
_Host = Annotated[str, Field(pattern=r"^[^\s/@]+$"), _Allowed("a host name or an IP address, without scheme or port")]
_Url = Annotated[str, Field(pattern=r"^(?i:https?)://\S+$"), _Allowed("a URL that begins with http:// or https://")]
_UpTo65535 = Annotated[int, Field(ge=1, le=65535), _Allowed("a whole number from 1 to 65535")]
_Count = Annotated[int, Field(ge=0), _Allowed("a whole number, at least 0")]
_Limit = Annotated[int | None, Field(ge=1), _Allowed("a whole number, at least 1")]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), _Allowed("a number of seconds, at least 0")]
_TimeLimit = Annotated[float | None, Field(gt=0, allow_inf_nan=False), _Allowed("a number of seconds above 0")]
_Certificates = Annotated[Path | None, AfterValidator(_pem_file), _Allowed("the path of a PEM file with certificates")]
_Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths), _Allowed(f"paths of files, joined with {os.pathsep!r}")]
_DeliveryMode = Annotated[Literal[1, 2], BeforeValidator(int), _Allowed("1 or 2")]
_Queues = Annotated[Literal["standalone", "cluster"], BeforeValidator(_lower), _Allowed("standalone or cluster")]
_Isolation = Annotated[Literal["process", "thread"], BeforeValidator(_lower), _Allowed("process or thread")]
_OnError = Annotated[Literal["fail", "skip"], BeforeValidator(_lower), _Allowed("fail or skip")]
_Device = Annotated[str | None, BeforeValidator(_lower), _Allowed("a device of FFmpeg, such as cuda")]
_Proxy = Annotated[str | None, _Allowed("http:// or https://, [USER:PASSWORD@]HOST[:PORT]")]
_Level = Annotated[int, BeforeValidator(_level), _Allowed("DEBUG, INFO, WARN, WARNING, ERROR or CRITICAL, in any case")]


def _variable(name: str, default: object, description: str, *, fallback: str = "", shown: str | None = None) -> Any:
    """
    A field read from one environment variable.

    Args:
        name: The variable.
        default: The value when it is unset or empty.
        description: What it is for, as the documentation says it.
        fallback: A second variable, read when the first one is unset.
        shown: The default in words, where ``default`` itself does not say it.
    """
    return Field(
        default,
        validation_alias=AliasChoices(name, fallback) if fallback else name,
        description=description,
        json_schema_extra={"shown": shown},
    )


class Table(BaseModel):
    """One table of variables. May also be built by field names. Built on first use, to keep the import short."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )

    title: ClassVar[str]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _without_user(value) if isinstance(value, str) else value


class LogSettings(Table):
    """How the worker logs."""

    title = "Logging"

    level: _Level = _variable("MCAI_LOG", logging.INFO, "Log level of the worker.", shown="INFO")
    rust_log: Annotated[str | None, _Allowed("as MCAI_LOG, or trace, which means DEBUG")] = _variable(
        "RUST_LOG", None, "Log level when MCAI_LOG is unset. Filters for single modules are not read and mean INFO."
    )
    only_json: _Switch = _variable("ONLY_JSON_LOGS", False, "Write each log line as one JSON object.")
    file: Annotated[Path | None, _Allowed("the path of a file")] = _variable(
        "FILE_LOGGING", None, "Append the log lines to this file as well."
    )

    @model_validator(mode="before")
    @classmethod
    def _fall_back_to_rust_log(cls, values: Any) -> Any:
        if isinstance(values, dict) and "RUST_LOG" in values and "MCAI_LOG" not in values:
            return {**values, "MCAI_LOG": _RUST_LEVELS.get(values["RUST_LOG"].strip().upper(), logging.INFO)}
        return values


class AmqpSettings(Table):
    """Where the broker is and how to talk to it."""

    title = "AMQP connection"

    hostname: _Host = _variable("AMQP_HOSTNAME", "localhost", "IP or host of the AMQP server.")
    port: _UpTo65535 = _variable(
        "AMQP_PORT",
        5672,
        "Port of the AMQP server. The default is the same with TLS, whose usual port 5671 must be set.",
    )
    tls: _Switch = _variable("AMQP_TLS", False, "Enable a secure connection with AMQPS.")
    tls_cert: _Certificates = _variable(
        "AMQP_TLS_CERT", None, "Certificates of authorities to trust besides those of the system."
    )
    tls_verify: _Switch = _variable(
        "AMQP_TLS_VERIFY", True, "Verify the server's certificate and host name; off, the worker warns at each start."
    )
    username: _Text = _variable("AMQP_USERNAME", "guest", "User name at the AMQP server.")
    password: _Secret = _variable("AMQP_PASSWORD", SecretStr("guest"), "Password at the AMQP server.", shown="guest")
    vhost: _Text = _variable("AMQP_VHOST", "/", "AMQP virtual host.", fallback="AMQP_VIRTUAL_HOST")
    queue: _Text = _variable("AMQP_QUEUE", "job_undefined", "AMQP queue that job orders are taken from.")
    delivery_mode: _DeliveryMode = _variable(
        "AMQP_DELIVERY_MODE", 2, "AMQP delivery mode: 2 for persistent, 1 for transient."
    )
    server_configuration: _Queues = _variable(
        "AMQP_SERVER_CONFIGURATION",
        "standalone",
        "RabbitMQ with classic queues (standalone) or quorum queues (cluster).",
    )
    consumer_timeout_ms: _Limit = _variable(
        "AMQP_CONSUMER_TIMEOUT",
        None,
        "Milliseconds the broker waits for an order's settlement: the job queue's argument x-consumer-timeout. "
        "A queue that exists with another value has to be deleted first.",
        shown="set by the broker",
    )
    connection_max_retry: _Count = _variable(
        "AMQP_CONNECTION_MAX_RETRY", 5, "How often the first connection is tried again, after 2 s, 4 s, 6 s and so on."
    )
    heartbeat_seconds: _UpTo65535 = _variable(
        "AMQP_HEARTBEAT_SECONDS", 60, "Seconds of silence after which either side of the connection shows it is alive."
    )


class BackendSettings(Table):
    """Where StepFlow's backend is."""

    title = "Backend connection"

    hostname: _Url = _variable("BACKEND_HOSTNAME", "http://127.0.0.1:4000/api", "URL of the backend server.")
    username: _Text = _variable("BACKEND_USERNAME", "", "User name at the backend server.")
    password: _Secret = _variable("BACKEND_PASSWORD", SecretStr(""), "Password at the backend server.", shown="")


class JobSettings(Table):
    """How jobs run and how they are ended."""

    title = "Jobs"

    ttl_limit: _Count = _variable(
        "MESSAGE_TTL_LIMIT", 4, "Further attempts at an order whose worker or link died, before it ends in a job_error."
    )
    soft_limit: _Count = _variable(
        "MESSAGE_SOFT_LIMIT",
        800,
        "Delays of 5 s for an order with missing requirements, before it ends in a job_error.",
    )
    isolation: _Isolation = _variable(
        "MCAI_ISOLATION", "process", "Run jobs in a process of their own, or in a thread beside the broker connection."
    )
    timeout_seconds: _TimeLimit = _variable("MCAI_JOB_TIMEOUT_SECONDS", None, "A longer job is ended in a job_error.")
    stop_grace_seconds: _TimeLimit = _variable(
        "MCAI_STOP_GRACE_SECONDS", None, "A job that ignores a stop order for longer is killed with its process."
    )
    shutdown_grace_seconds: _Seconds = _variable(
        "MCAI_SHUTDOWN_GRACE_SECONDS",
        20.0,
        "How long the running job may go on after SIGTERM or SIGINT, before it is stopped and its order put back. "
        "The default ends before the 30 s of Kubernetes.",
        shown="20",
    )
    max_jobs: _Limit = _variable("MCAI_MAX_JOBS", None, "The worker ends after this many jobs.")
    max_jobs_per_process: _Limit = _variable(
        "MCAI_MAX_JOBS_PER_PROCESS", None, "The job process is replaced after this many jobs."
    )
    max_rss_mb_per_process: _Limit = _variable(
        "MCAI_MAX_RSS_MB_PER_PROCESS", None, "The job process is replaced when a job leaves it larger than this, in MB."
    )


class MediaSettings(Table):
    """How media are read."""

    title = "Media workers"

    on_error: _OnError = _variable(
        "MCAI_MEDIA_ON_ERROR", "fail", "A source that ends early fails the job, or what it lacks is counted."
    )
    hwaccel: _Device = _variable(
        "MCAI_MEDIA_HWACCEL", None, "Decode video on this device; where it cannot, warn and use the CPU."
    )


class HttpSettings(Table):
    """The health and metrics endpoint."""

    title = "Health and metrics"

    port: Annotated[int | None, Field(ge=1, le=65535), _Allowed("a whole number from 1 to 65535")] = _variable(
        "MCAI_HTTP_PORT", None, "Serve /live, /ready and /metrics on this port."
    )
    host: _Host = _variable("MCAI_HTTP_HOST", "127.0.0.1", "Address to serve them on; 0.0.0.0 opens it to others.")


class ProxySettings(Table):
    """The proxies of the backend and the credential stores: see :class:`Proxies`."""

    title = "HTTP proxies"

    http: _Proxy = _variable(
        "HTTP_PROXY", None, "Proxy for the backend and stores whose address begins with http://.", fallback="http_proxy"
    )
    https: _Proxy = _variable(
        "HTTPS_PROXY", None, "The same for https://, through a tunnel (CONNECT).", fallback="https_proxy"
    )
    all: _Proxy = _variable("ALL_PROXY", None, "Proxy where the variable above is unset.", fallback="all_proxy")
    no: Annotated[str, _Allowed("HOST, .DOMAIN, *, an address, a network; with :PORT if wanted")] = _variable(
        "NO_PROXY", "", "Hosts that are reached without a proxy, separated by commas.", fallback="no_proxy"
    )


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the ``{STORE}_...`` variables say of one credential store, unverified; ``None`` where they say nothing."""

    name: str
    """The store, as the order writes it."""
    hostname: str | None
    """URL of its API."""
    username: str | None
    password: SecretStr | None
    token: SecretStr | None


class Settings(Table):
    """
    Everything the environment says, read once.

    :meth:`load` reads it; the constructor takes field values and reads nothing, which is for tests.
    Immutable, and safe to use from every thread.
    """

    title = "Running the worker"

    log: LogSettings = Field(default_factory=LogSettings)
    amqp: AmqpSettings = Field(default_factory=AmqpSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)
    job: JobSettings = Field(default_factory=JobSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    proxy: ProxySettings = Field(default_factory=ProxySettings)

    source_orders: _Paths = _variable(
        "SOURCE_ORDERS", (), "Run the orders in these JSON files in turn, without a broker, then end.", shown=""
    )
    describe: _Switch = _variable("DESCRIBE", False, "Print the worker's description and schema as JSON, then end.")
    direct_messaging_identifier: Annotated[str | None, _Allowed("any text")] = _variable(
        "DIRECT_MESSAGING_IDENTIFIER",
        None,
        "What follows direct_messaging_ in the name of the worker's own queue.",
        shown="the instance id",
    )

    #: Where :meth:`store` looks; ``None`` is ``os.environ`` as it is at that moment.
    _environ: Mapping[str, str] | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """
        Read the environment.

        Args:
            environ: Read this instead of ``os.environ``.

        Returns:
            The settings, every one of them verified.

        Raises:
            SettingsError: One or more variables have a value that is not allowed; names each of them.
        """
        try:
            settings = cls.model_validate(_gather(cls, os.environ if environ is None else environ))
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        settings._environ = None if environ is None else dict(environ)
        return settings

    def environment_variable(self, name: str) -> str | None:
        """
        The value of any variable, for the ``env`` credential store; ``None`` when it is unset or empty.

        Looked up when called, so that what ``setup()`` puts into ``os.environ`` is found.
        """
        environ = os.environ if self._environ is None else self._environ
        try:
            return environ.get(name) or None
        except UnicodeEncodeError:  # An order may name anything, also what no variable can be called.
            return None

    def store(self, name: str) -> StoreSettings:
        """
        What the environment says of a credential store.

        Args:
            name: The store as the order writes it: it is the variables' prefix, letter case included.
        """
        password, token = (self.environment_variable(f"{name}_{key}") for key in ("PASSWORD", "TOKEN"))
        return StoreSettings(
            name=name,
            hostname=self.environment_variable(f"{name}_HOSTNAME"),
            username=self.environment_variable(f"{name}_USERNAME"),
            password=SecretStr(password) if password else None,
            token=SecretStr(token) if token else None,
        )

    def secrets(self) -> tuple[str, ...]:
        """The passwords in these settings, for masking. The documented defaults are none."""
        passwords = [table.password.get_secret_value() for table in (self.amqp, self.backend)]
        return tuple(password for password in [*passwords, *self.proxies.passwords()] if password not in {"", "guest"})

    def warnings(self) -> list[str]:
        """What the worker should log at its start about its environment; a sentence each, without a password."""
        environ = os.environ if self._environ is None else self._environ
        # The proxies' variables are other programs' as well, and so are those that are spelt alike.
        models = [model for model in tables() if model is not ProxySettings]
        spellings = [variables_of(field) for model in models for field in model.model_fields.values()]
        return [
            *near_misses(environ, {variable: same for same in spellings for variable in same}),
            *self.proxies.faults(),
        ]

    def unset_queue(self) -> str | None:
        """What a worker behind a broker should log when its queue is not named; ``None`` when it is."""
        if self.environment_variable("AMQP_QUEUE") is not None:
            return None
        return (
            "The environment variable AMQP_QUEUE is unset; expected the queue that holds the worker's orders. "
            f"They are taken from {self.amqp.queue}."
        )

    @property
    def proxies(self) -> Proxies:
        """Which proxy an address is reached through."""
        return Proxies(http=self.proxy.http, https=self.proxy.https, every=self.proxy.all, bypass=self.proxy.no)


def _nested(model: type[Table]) -> dict[str, type[Table]]:
    """The tables inside a model, by field name."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Table)}


def tables() -> list[type[Table]]:
    """Every model there is, in the order of the documentation."""
    return [*_nested(Settings).values(), Settings]


def variables_of(field: FieldInfo) -> list[str]:
    """The variables a field is read from, the one that wins first; none for a nested table."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def allowed_words(field: FieldInfo) -> str:
    """What a field takes."""
    return next(item.words for item in field.metadata if isinstance(item, _Allowed))


def default_words(field: FieldInfo) -> str:
    """The default of a field; empty where being unset means "off" or "none"."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["shown"] is not None:
        return str(extra["shown"])
    text = "" if field.default is None else str(field.default)
    return text.lower() if isinstance(field.default, bool) else text


def _gather(model: type[Table], environ: Mapping[str, str]) -> dict[str, Any]:
    """The variables of a model and its nested ones that are set and not empty; of a field's, the one that wins."""
    values: dict[str, Any] = {name: _gather(kind, environ) for name, kind in _nested(model).items()}
    for field in model.model_fields.values():
        present = [variable for variable in variables_of(field) if environ.get(variable)]
        values.update((variable, environ[variable]) for variable in present[:1])
    return values


def _explain(error: ValidationError) -> str:
    """One sentence for each bad variable; never a secret's value."""
    fields = {name: row for model in tables() for row in model.model_fields.values() for name in variables_of(row)}
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        variable = next(str(part) for part in detail["loc"] if part in fields)
        problems.setdefault(variable, _problem(variable, fields[variable], str(detail["input"])))
    if len(problems) == 1:
        return next(iter(problems.values()))
    return "\n- ".join((f"{len(problems)} environment variables cannot be used:", *problems.values()))


def _problem(variable: str, field: FieldInfo, value: str) -> str:
    default = default_words(field)
    remedy = f"unset it for the default, {default}" if default else "unset it"
    shown = "not usable" if field.annotation is SecretStr else repr(_without_user(value[:200]))
    return f"The environment variable {variable} is {shown}; expected {allowed_words(field)}. Correct it, or {remedy}."


def _without_user(text: str) -> str:
    """The text with what may be a user name and password before an ``@`` taken out."""
    return re.sub(r"(\w+://)?\S*@", r"\1***@", text)
