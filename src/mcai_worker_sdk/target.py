"""Finds the worker that a person names: a class, ``module:Name``, or the file that starts it."""

from __future__ import annotations

import builtins
import copy
import functools
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.errors import WorkerDefinitionError, WorkerSdkError
from mcai_worker_sdk.parameters import WorkerParameters
from mcai_worker_sdk.worker import Worker, forget_made

__all__ = ["load_worker", "make_worker"]

#: The methods that take the parameters, with the name of the argument.
_TAKES_PARAMETERS = ("process", "init_process")


def load_worker(target: str) -> Worker:
    """
    Make the worker that ``target`` names.

    Args:
        target: ``module:Name``, where the name is a worker's class, a worker, or a function without arguments that
            returns one; or the path of a script that makes a worker and calls its ``start()``.

    Raises:
        WorkerDefinitionError: There is no such module, name, file or worker, or importing it fails; names it and the
            remedy, and has what its own code raised as its cause.
    """
    module, separator, name = target.rpartition(":")
    # A module, a package or a name in it holds neither a slash nor the suffix.
    is_name = separator and not name.endswith(".py") and "/" not in name
    try:
        return _from_module(module, name, target) if is_name else _from_script(Path(target))
    except WorkerSdkError:
        raise
    except Exception as error:
        raise WorkerDefinitionError(
            f"The worker {target!r} cannot be loaded: {type(error).__name__}: {error}. Correct its code."
        ) from error


def make_worker(worker: Worker | type[Worker]) -> Worker:
    """
    Give a worker as it is, and make one of a class: with the parameters class that its methods are annotated with, and
    the description of the package it lies in.

    Raises:
        WorkerDefinitionError: It is neither, or the parameters class cannot be told.
        DescriptionError: Nothing describes the class's package.
    """
    if isinstance(worker, Worker):
        return worker
    given: Any = worker
    if not (isinstance(given, type) and issubclass(given, Worker)):
        raise WorkerDefinitionError(f"The worker is {worker!r}; expected a Worker, or a class that extends it.")
    package = getattr(sys.modules.get(worker.__module__), "__package__", None)
    # Of a script, the current folder says who the worker is.
    description = copy.copy(_description_of(package)) if package else WorkerDescription(None)
    return worker(_parameters_class(worker), description)


@functools.cache
def _description_of(package: str) -> WorkerDescription:
    """Looking through what is installed takes 0.2 s, and what it says does not change while a process runs."""
    return WorkerDescription(package)


def _parameters_class(worker: type[Worker]) -> type:
    for name in _TAKES_PARAMETERS:
        method = getattr(worker, name)
        try:
            hints = typing.get_type_hints(method)
        except (NameError, TypeError):  # Names for type checkers only: those of a media worker, often.
            hints = getattr(method, "__annotations__", {})
        found = _resolved(hints.get("parameters"), worker)
        if found is not None:
            return found
    in_module = [
        value
        for value in vars(sys.modules[worker.__module__]).values()
        if isinstance(value, type) and issubclass(value, WorkerParameters) and value.__module__ == worker.__module__
    ]
    if len(in_module) == 1:
        return in_module[0]
    raise WorkerDefinitionError(
        f"The parameters class of {worker.__name__} is not known; expected an annotation, such as "
        "process(self, channel, parameters: MyParameters, job_id). Add it, or pass a worker that is made already."
    )


def _resolved(hint: Any, worker: type[Worker]) -> type | None:
    if isinstance(hint, str):
        hint = vars(sys.modules[worker.__module__]).get(hint)
    # Any is a class since Python 3.11.
    return hint if isinstance(hint, type) and hint is not Any else None


def _from_module(module_name: str, name: str, target: str) -> Worker:
    _make_importable(Path.cwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise WorkerDefinitionError(
            f"The worker {target!r} is in no module that can be found ({error}); expected module:Class, such as "
            "my_worker.worker:MyWorker. Run the command in the project's folder, or install the project."
        ) from None
    found = getattr(module, name, None)
    if inspect.isfunction(found):
        found = found()
    if found is None or not (isinstance(found, Worker) or (isinstance(found, type) and issubclass(found, Worker))):
        known = [key for key, value in vars(module).items() if _is_own_worker(value, module.__name__)]
        raise WorkerDefinitionError(
            f"The worker {target!r} is {'missing' if found is None else repr(found)}; expected a class that extends "
            f"Worker. {module_name} has {', '.join(known) or 'none'}."
        )
    return make_worker(found)


def _is_own_worker(value: object, module_name: str) -> bool:
    return isinstance(value, type) and issubclass(value, Worker) and value.__module__ == module_name


def _from_script(path: Path) -> Worker:
    if not path.is_file():
        raise WorkerDefinitionError(
            f"The worker {str(path)!r} is no file; expected a script that starts a worker, or module:Class. Correct it."
        )
    started: list[Worker] = []
    _make_importable(*_folders_of(path.resolve()))
    with _caught_starts(started.append), suppress(_StartCaughtError):
        _run_as_main(path)
    if not started:
        raise WorkerDefinitionError(
            f'The script {str(path)!r} starts no worker; expected it to call start() where __name__ is "__main__". '
            f"Add that, or name the class: module:Class."
        )
    return started[0]


def _run_as_main(path: Path) -> None:
    """
    Run a script as this process's own, as which it stays: what a job starts by ``multiprocessing`` imports it again,
    and finds the worker's functions by it.
    """
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    sys.argv = [str(path)]
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the script that was named


class _StartCaughtError(BaseException):
    """Leaves the script where it would have run the worker. No ``except Exception`` of the script holds it."""


@contextmanager
def _caught_starts(take: Callable[[Worker], None]) -> Iterator[None]:
    def start(self: Worker) -> None:
        take(self)
        forget_made()
        raise _StartCaughtError

    real = Worker.start
    Worker.start = start  # type: ignore[method-assign]  # for as long as the script runs, which makes the worker
    try:
        yield
    finally:
        Worker.start = real  # type: ignore[method-assign]  # as before


def _make_importable(*folders: Path) -> None:
    """What lies in a folder can be imported, as where Python was started with a script in it. It stays so."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _folders_of(script: Path) -> list[Path]:
    """The script's own folder and, where that is a package, the one that the package lies in."""
    package = script.parent
    while (package / "__init__.py").is_file():
        package = package.parent
    return [package, script.parent]
