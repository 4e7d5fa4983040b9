"""
Every name that a dependency, or Python itself, does not promise, and that the package uses all the same.

Each is listed with the file that uses it and what for. When a release drops one, the sentence here says so before a
worker does; and a name that is not listed is found in the source, so that none comes in unseen.
"""

import ast
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any
from unittest import mock

import pytest

from tests.unit.house import PACKAGE, Module, imported_names, is_underscored, names_defined_in, read_house


@dataclass(frozen=True)
class PrivateName:
    """One name of somebody else's."""

    file: str
    """Who uses it, relative to the package."""
    place: str
    """Where it is, as :func:`pkgutil.resolve_name` takes it; ``()`` stands for an instance of a class."""
    purpose: str
    """What it is used for: the end of "which FILE uses to ..."."""
    parameters: tuple[str, ...] = field(default=())
    """The parameters it is called with, or must take where the package overrides it; empty when it is not called."""

    @property
    def name(self) -> str:
        return self.place.replace(":", ".").rpartition(".")[2]


PRIVATE_NAMES = [
    # pika
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:_AsyncioIOServicesAdapter",
        "hand pika timers that end the connection when they raise",
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.channel:Channel._on_deliver",
        "take a delivery between basic.cancel and its answer",
        ("self", "method_frame", "header_frame", "body"),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.channel:Channel()._consumers",
        "find the callback of a delivery",
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection._create_channel",
        "have channels of its own class",
        ("self", "channel_number", "on_open_callback"),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection._terminate_stream",
        "drop a socket without a farewell",
        ("self", "error"),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection()._transport",
        "see whether there is a socket to drop",
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection._on_connection_close_from_broker",
        "keep the broker's words",
        ("self", "method_frame"),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection._on_connection_tune",
        "name frames that are too small for AMQP",
        ("self", "method_frame"),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection._read_frame",
        "read field tables that pika cannot decode",
        ("self",),
    ),
    PrivateName(
        "exchange/rabbitmq/adapter.py",
        "pika.adapters.asyncio_connection:AsyncioConnection()._frame_buffer",
        "read field tables that pika cannot decode",
    ),
    *(
        PrivateName(
            "exchange/rabbitmq/transport.py",
            f"pika.adapters.asyncio_connection:AsyncioConnection._proto_{name}",
            "have pika speak over asyncio's own transports",
            ("self", *parameters),
        )
        for name, parameters in {
            "connection_made": ("transport",),
            "connection_lost": ("error",),
            "data_received": ("data",),
            "eof_received": (),
        }.items()
    ),
    # pydantic
    PrivateName(
        "parameters/fields.py",
        "pydantic.dataclasses:rebuild_dataclass",
        "resolve names of the functions around a class (argument _types_namespace)",
        ("cls", "force", "raise_errors", "_parent_namespace_depth", "_types_namespace"),
    ),
    PrivateName(
        "parameters/fields.py",
        "pydantic:BaseModel.model_rebuild",
        "resolve names of the functions around a model (argument _types_namespace)",
        ("force", "raise_errors", "_parent_namespace_depth", "_types_namespace"),
    ),
    PrivateName("parameters/fields.py", "pydantic:BaseModel.__pydantic_complete__", "see whether names are missing"),
    PrivateName("parameters/fields.py", "dataclass().__pydantic_fields__", "read the fields of a dataclass"),
    PrivateName("parameters/fields.py", "dataclass().__pydantic_config__", "read how a dataclass takes its ids"),
    PrivateName("parameters/fields.py", "dataclass().__pydantic_core_schema__", "read the ids of the fields"),
    PrivateName("parameters/fields.py", "validator().decorator_info", "find the validators of a class"),
    PrivateName("parameters/model.py", "dataclass().__pydantic_core_schema__", "publish the JSON Schema"),
    PrivateName("parameters/model.py", "dataclass().__pydantic_validator__", "check an order"),
    PrivateName(
        "settings/tables.py", "pydantic:BaseModel.__repr_args__", "keep secrets out of the settings' repr", ("self",)
    ),
    # Python
    PrivateName("host/process/job_process.py", "os:_exit", "end an orphaned job process at once", ("status",)),
    PrivateName("host/process/ending.py", "os:_exit", "end a job process that has done all of that", ("status",)),
    PrivateName("host/process/ending.py", "atexit:_clear", "leave the script's exit functions to the parent of a fork"),
    PrivateName("host/process/ending.py", "atexit:_run_exitfuncs", "call the exit functions of a job process"),
    PrivateName(
        "host/process/ending.py",
        "threading:_shutdown",
        "tell executors that a job process ends, and wait for its threads",
    ),
    PrivateName(
        "host/process/ending.py", "weakref:finalize._registry", "leave the script's finalizers to the parent of a fork"
    ),
    PrivateName(
        "host/process/ending.py",
        "weakref:finalize._registered_with_atexit",
        "have the finalizers of a fork run at its end",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.process:_children",
        "leave the script's child processes to the parent of a fork",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.util:_finalizer_registry",
        "leave the script's shared objects to the parent of a fork",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.util:_run_after_forkers",
        "have shared objects of the script work in a fork",
    ),
    PrivateName(
        "host/process/ending.py", "multiprocessing.util:_exit_function", "end the child processes of a fork at its end"
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.resource_tracker:_resource_tracker",
        "give a fork a resource tracker of its own",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.resource_tracker:_resource_tracker._fd",
        "give a fork a resource tracker of its own",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.resource_tracker:_resource_tracker._pid",
        "give a fork a resource tracker of its own",
    ),
    PrivateName(
        "host/process/ending.py", "multiprocessing.forkserver:_forkserver", "give a fork a fork server of its own"
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.forkserver:_forkserver._forkserver_address",
        "give a fork a fork server of its own",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.forkserver:_forkserver._forkserver_alive_fd",
        "give a fork a fork server of its own",
    ),
    PrivateName(
        "host/process/ending.py",
        "multiprocessing.forkserver:_forkserver._forkserver_pid",
        "give a fork a fork server of its own",
    ),
    PrivateName("host/process/program.py", "sys:_getframe", "find the script that came by standard input"),
    PrivateName("job/runner.py", "os:_exit", "end a process that a job forked", ("status",)),
    PrivateName("host/thread.py", "os:_exit", "leave a job behind that cannot be ended", ("status",)),
    PrivateName(
        "supervisor/start.py",
        "multiprocessing.process:Process()._inheriting",
        "see that a child of multiprocessing imports the script",
    ),
    PrivateName("supervisor/local.py", "os:_exit", "end at the second Ctrl-C", ("status",)),
    PrivateName("supervisor/local.py", "_thread:start_new_thread", "ask a job to stop inside a signal handler"),
    PrivateName(
        "logs/configuration.py", "logging:Formatter()._fmt", "tell a handler that basicConfig() made from the user's"
    ),
    PrivateName("logs/configuration.py", "sys:_getframe", "see whether a log call names its job itself"),
    PrivateName(
        "logs/configuration.py",
        "logging:Logger.makeRecord",
        "see whether a log call names its job itself (its local variable extra)",
        ("self", "name", "level", "fn", "lno", "msg", "args", "exc_info", "func", "extra", "sinfo"),
    ),
    PrivateName("parameters/annotations.py", "sys:_getframe", "find the functions around a class"),
    PrivateName("parameters/annotations.py", "typing:ForwardRef().__forward_arg__", "read what an annotation names"),
    PrivateName("parameters/declarations.py", "typing:Annotated().__metadata__", "look into an annotation"),
    PrivateName("parameters/fields.py", "typing:Annotated().__metadata__", "find a default in an annotation"),
    PrivateName("parameters/model.py", "sys:_getframe", "find the function that defines a class"),
    PrivateName("worker.py", "sys:_getframe", "see whether the script makes a worker"),
]


def make_dataclass() -> Any:
    import pydantic.dataclasses

    @pydantic.dataclasses.dataclass(config={"extra": "forbid"})
    class Made:
        number: int

    return Made


def make_validator() -> Any:
    import pydantic

    class Made:
        @pydantic.field_validator("number")
        @classmethod
        def check(cls, value: int) -> int:
            return value

    return Made.__dict__["check"]


def make_channel() -> Any:
    import pika.channel

    return pika.channel.Channel(mock.Mock(spec=["callbacks"]), 1, lambda _: None)


def make_connection() -> Any:
    from pika.adapters.asyncio_connection import AsyncioConnection
    from pika.adapters.utils.nbio_interface import AbstractIOServices

    services = mock.Mock(spec=AbstractIOServices)
    return AsyncioConnection(custom_ioloop=services, internal_connection_workflow=False)


def make_annotated() -> Any:
    import typing

    return typing.Annotated[int, "metadata"]


def make_inheriting_process() -> Any:
    """Only a child that imports the script has it; it is set by the code that does so."""
    import multiprocessing.spawn

    sets = "_inheriting = True" in inspect.getsource(multiprocessing.spawn._main)  # type: ignore[attr-defined]
    return types.SimpleNamespace(**{"_inheriting": True} if sets else {})


#: How one is had of what only an instance has.
INSTANCES: dict[str, Callable[[], Any]] = {
    "dataclass": make_dataclass,
    "logging:Formatter": lambda: pkgutil.resolve_name("logging:Formatter")("%(message)s"),
    "multiprocessing.process:Process": make_inheriting_process,
    "pika.adapters.asyncio_connection:AsyncioConnection": make_connection,
    "pika.channel:Channel": make_channel,
    "typing:Annotated": make_annotated,
    "typing:ForwardRef": lambda: pkgutil.resolve_name("typing:ForwardRef")("Later"),
    "validator": make_validator,
}


def complaint(private: PrivateName) -> str | None:
    """What is wrong with a name that the package relies on, in one sentence; ``None`` when it is as it should be."""
    owner, _, name = private.place.rpartition("().")
    library = private.place.partition(":")[0].partition(".")[0]
    release = f"{library} {metadata.version(library)}" if library in metadata.packages_distributions() else "Python"
    use = f"which {private.file} uses to {private.purpose}; find what took its place, or bound the version"
    instance = INSTANCES[owner]() if owner else None
    try:
        found = getattr(instance, name) if owner else pkgutil.resolve_name(private.place)
    except (AttributeError, ImportError):
        return f"{release} has no {private.place}, {use}."
    if private.parameters:
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != private.parameters:
            return f"{release} has {private.place}{parameters} where {private.parameters} was expected, {use}."
    return None


@pytest.mark.parametrize("private", PRIVATE_NAMES, ids=lambda private: f"{private.file}-{private.name}")
def test_a_private_name_that_the_package_uses_is_there(private: PrivateName):
    assert complaint(private) is None


def test_a_private_name_that_is_gone_is_told_in_a_sentence():
    gone = PrivateName("logs.py", "pika.channel:Channel._went_away", "do things")
    changed = PrivateName("logs.py", "pika.channel:Channel.basic_ack", "do things", ("self", "number"))

    version = metadata.version("pika")
    assert complaint(gone) == (
        f"pika {version} has no pika.channel:Channel._went_away, which logs.py uses to do things; "
        "find what took its place, or bound the version."
    )
    assert (complaint(changed) or "").startswith(f"pika {version} has pika.channel:Channel.basic_ack('self', ")


# --- the rule ----------------------------------------------------------------------------------------------------

#: Names with two underscores on each side that Python documents: those of its own objects, and a few more.
PYTHONS_OWN = {
    name
    for thing in (object, type, dict, BaseException, types.FunctionType, types.ModuleType, ast)
    for name in dir(thing)
} | {
    "__all__",
    "__main__",
    "__notes__",
    "__parameters__",
    "__post_init__",
    "__slots__",
    "__stderr__",
    "__stdout__",
    "__version__",
    "__weakref__",
}

HOUSE = {module.name: module for module in read_house()}
LISTED = {(private.file, private.name) for private in PRIVATE_NAMES}
#: A module that is private as a whole, and an argument, are listed under what is used of them.
LISTED |= {("supervisor/local.py", "_thread"), ("parameters/fields.py", "_types_namespace")}
#: Documentation of attrs names this mark of its classes, and attrs itself is not needed to look for the mark.
LISTED |= {("parameters/declarations.py", "__attrs_attrs__")}


def is_private(name: str) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return name not in PYTHONS_OWN
    return is_underscored(name)


def names_of_the_house(module: Module) -> frozenset[str]:
    """Our own underscores: what the module defines, those it imports, and those that these stand on in their room."""
    known: dict[str, Module] = {}
    waiting = [module]
    while waiting:
        reader = waiting.pop()
        for name in {
            longest_module(name) for _, name in imported_names(reader, reader.tree)
        } & HOUSE.keys() - known.keys():
            if reader is module or HOUSE[name].room == reader.room:
                known[name] = HOUSE[name]
                waiting.append(HOUSE[name])
    return names_defined_in(module).union(*map(names_defined_in, known.values()))


def longest_module(name: str) -> str:
    while name and name not in HOUSE:
        name = name.rpartition(".")[0]
    return name


def foreign_imports(module: Module) -> dict[str, str]:
    """What the module imports from elsewhere: its name there by its name here."""
    found = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {here: there for here, there in found.items() if there.partition(".")[0] != PACKAGE}


def root_of(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def overridden(cls: ast.ClassDef, foreign: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Methods of a class that stand in for one of a class from elsewhere."""
    bases = []
    for base in cls.bases:
        # A class that takes types in brackets (StreamHandler[TextIO]) is the one before them.
        root, _, rest = ast.unparse(base.value if isinstance(base, ast.Subscript) else base).partition(".")
        if root in foreign:
            bases.append(pkgutil.resolve_name(f"{foreign[root]}.{rest}".rstrip(".")))
    for step in cls.body:
        if isinstance(step, ast.FunctionDef | ast.AsyncFunctionDef) and any(hasattr(base, step.name) for base in bases):
            yield step.lineno, step.name


def private_uses(module: Module) -> Iterator[tuple[int, str]]:
    """Line and name of each use of what is somebody else's and private."""
    own, foreign = names_of_the_house(module), foreign_imports(module)
    for line, name in imported_names(module, module.tree):
        if name.partition(".")[0] not in {PACKAGE, "__future__"}:
            yield from ((line, part) for part in name.split("."))
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=value, attr=name) if name not in own or root_of(value) in foreign:
                yield node.lineno, name
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(value=name), *_]):
                yield from ((node.lineno, name) for _ in range(name not in own))
            case ast.Call(keywords=keywords):
                yield from ((node.lineno, word.arg) for word in keywords if word.arg and word.arg not in own)
            case ast.ClassDef():
                yield from overridden(node, foreign)


def unlisted_private_name(module: Module) -> Iterator[str]:
    for line, name in private_uses(module):
        if is_private(name) and (module.path, name) not in LISTED:
            yield f"{module.path}:{line} uses {name}, which is private to another package and not listed here"


PLANTED = [
    "from pika.channel import _secret",
    "import _thread",
    "import pika._internal.thing",
    "import os\nos._exit(1)",
    "import logging\nlogging.getLogger()._cache.clear()",
    "def f(channel):\n    return channel._consumers",
    "def f(channel):\n    channel._state = 1",
    "def f(model):\n    return getattr(model, '__pydantic_decorators__', None)",
    "def f(model):\n    model.rebuild(_depth=2)",
    "import pika.channel\nclass C(pika.channel.Channel):\n    def _on_cancel(self, frame): ...",
    "from pika.channel import Channel\nclass C(Channel):\n    def _on_cancel(self, frame): ...",
]


@pytest.mark.parametrize("module", HOUSE.values(), ids=HOUSE)
def test_no_private_name_of_another_package_is_used_unlisted(module: Module):
    assert list(unlisted_private_name(module)) == []


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_private_name_is_found(text: str):
    assert len(list(unlisted_private_name(Module("channel.py", text)))) == 1


def test_a_name_is_listed_for_the_file_that_uses_it_alone():
    text = "import logging\nlogging.Formatter()._fmt"

    assert [
        len(list(unlisted_private_name(Module(path, text)))) for path in ("logs/configuration.py", "channel.py")
    ] == [0, 1]


def test_the_packages_own_underscores_are_let_through():
    text = "class C:\n    def __init__(self):\n        self._x = 1\ndef f(c, _y=1):\n    return f(c._x, _y=2).__dict__"

    assert list(unlisted_private_name(Module("logs.py", text))) == []


def test_every_listed_name_is_still_used():
    texts = {module.path: module.text for module in HOUSE.values()}

    assert [
        f"{private.file} does not name {private.name} any more: take it off the list"
        for private in PRIVATE_NAMES
        if private.name not in texts[private.file]
    ] == []
