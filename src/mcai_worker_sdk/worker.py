"""``Worker``: the class users extend."""

from __future__ import annotations

import atexit
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.errors import MissingExtraError, WorkerDefinitionError
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.parameters import ParametersModel

if TYPE_CHECKING:
    from mcai_worker_sdk.media import FormatContext, Frame

__all__ = ["Worker", "definition_of", "forget_made"]

_logger = get_logger(__name__)


class Worker:
    """
    Extend this class, then call :meth:`start`.

    A plain worker overrides :meth:`process`. A media worker overrides :meth:`init_process` and :meth:`process_frames`
    instead (a class that overrides ``process`` as well is a plain worker). Two more methods count where they exist:
    ``update_process(parameters)`` takes new parameters while a job runs, and
    ``process_ebu_ttml_live(job_id, stream_index, documents)`` takes the TTML documents of data streams, a list of
    ``EbuTtDocument``, and returns what ``process_frames`` may. Prefer :meth:`setup` to ``__init__``: it
    runs in the process that runs the jobs, and its failure is reported.

    Args:
        parameters: The class of the worker's parameters (the class itself, not an instance).
        description: The worker's name, version, description and licence.

    Raises:
        WorkerDefinitionError: An argument is of the wrong kind, a parameter's annotation cannot be used, or no method
            that does the work is overridden.
        MissingExtraError: A media worker, and the extra ``media`` is not installed.
    """

    _parameters: type
    _description: WorkerDescription
    _model: ParametersModel

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Define the worker already, for subclasses whose ``__init__`` does not call this one's."""
        worker = super().__new__(cls)
        _remember_made(worker)
        parameters = args[0] if args else kwargs.get("parameters")
        description = args[1] if len(args) > 1 else kwargs.get("description")
        if isinstance(parameters, type) and isinstance(description, WorkerDescription):
            worker._define(parameters, description)
        return worker

    def __init__(self, parameters: type, description: WorkerDescription) -> None:
        """Check and keep the arguments; see the class."""
        defined = self.__dict__
        if defined.get("_parameters") is not parameters or defined.get("_description") is not description:
            self._define(parameters, description)

    def __getstate__(self) -> dict[str, Any]:
        # Of no use where the worker is unpickled: in a process of a pool that a job gave one of its methods.
        return {name: value for name, value in self.__dict__.items() if name != "_model"}

    # What users override

    def setup(self) -> None:
        """
        Prepare the worker: load a model, check a licence. Called once in the job process, before its first job.

        What it raises ends the worker with exit code 1.
        """

    def process(self, channel: McaiChannel, parameters: Any, job_id: int) -> Any:
        """
        Do one job. Called in the main thread of the job process.

        Args:
            channel: To report progression and status, and to hear that the job should stop.
            parameters: This job's own instance of the parameters class.
            job_id: The job.

        Returns:
            ``None`` or a dict with ``destination_paths`` (list of paths) and ``parameters`` (list of dicts with
            ``id``, ``kind``, ``value``).

        Raises:
            Exception: Anything: the job ends in ``job_error`` with the exception's type and text.
        """
        raise NotImplementedError(_NOT_OVERRIDDEN.format(name="process"))

    def init_process(self, context: FormatContext, parameters: Any) -> Sequence[Any]:
        """
        Choose the streams of one media job and how they are filtered. Called before its first frame.

        Args:
            context: The source: format and streams.
            parameters: This job's own instance of the parameters class.

        Returns:
            A list of ``VideoStreamDescriptor``, ``AudioStreamDescriptor`` and ``DataStreamDescriptor``.
        """
        raise NotImplementedError(_NOT_OVERRIDDEN.format(name="init_process"))

    def process_frames(self, job_id: str, stream_index: int, frames: Sequence[Frame]) -> Any:
        """
        Work on one batch of frames of one stream.

        Args:
            job_id: The job, as text: what existing workers get here.
            stream_index: The stream, as in the descriptor.
            frames: One to ``batch_size`` frames.

        Returns:
            Any JSON value: one entry of the destination's ``frames``.
        """
        raise NotImplementedError(_NOT_OVERRIDDEN.format(name="process_frames"))

    def ending_process(self) -> Any:
        """
        Clean up after one media job. Called once, after success, failure and stop.

        Returns:
            ``None``, or a dict as from :meth:`process`: its ``destination_paths`` and ``parameters`` join the result
            of a job that did not fail, behind the destination.
        """
        return None

    # What users call

    def start(self) -> None:
        """
        Run the worker until it is told to end: the only method to call.

        Takes orders from RabbitMQ, or from the files named in ``SOURCE_ORDERS``; with ``DESCRIBE=1`` prints the
        worker's description instead. Where the script is run again for a job process, it runs the jobs and does not
        return; in processes that a job starts by ``multiprocessing`` it does nothing.

        Raises:
            SystemExit: With exit code 1 when the worker cannot start, when ``setup()`` fails, or when a source order
                failed. A worker that ends as it should returns.
        """
        # Here, not at the top: the libraries for broker and HTTP are loaded when a worker starts, not when one is
        # imported.
        from mcai_worker_sdk.supervisor.start import start_worker

        forget_made()
        try:
            definition = definition_of(self)
        except WorkerDefinitionError as error:
            sys.exit(f"The worker cannot start. {error}")
        start_worker(definition)

    # What the SDK uses

    @property
    def _is_media(self) -> bool:
        return not self._overrides("process")

    def _define(self, parameters: type, description: WorkerDescription) -> None:
        if not isinstance(description, WorkerDescription):
            raise WorkerDefinitionError(
                f"The description of {type(self).__name__} is {description!r}; expected a WorkerDescription. "
                "Pass mcai.WorkerDescription(__package__)."
            )
        self._parameters, self._description = parameters, description
        self._model = ParametersModel(parameters)
        self._check_methods()

    def _check_methods(self) -> None:
        for name in ("setup", "process", "init_process", "process_frames", "ending_process", "update_process"):
            self._check_is_ordinary(name)
        if self._overrides("process"):
            return
        missing = [name for name in ("init_process", "process_frames") if not self._overrides(name)]
        if "process_frames" in missing and self._overrides("process_ebu_ttml_live"):
            missing.remove("process_frames")
        if missing:
            raise WorkerDefinitionError(
                f"{type(self).__name__} does not define {' and '.join(missing)}; expected process(channel, parameters, "
                "job_id), or for a media worker init_process(context, parameters) and process_frames(job_id, "
                "stream_index, frames)."
            )
        for module in ("av", "numpy"):
            if not _is_installed(module):
                raise MissingExtraError("A media worker", extra="media", missing=module)

    def _check_is_ordinary(self, name: str) -> None:
        """Called like any other method, these two kinds would do nothing at all."""
        method = getattr(self, name, None)
        if inspect.iscoroutinefunction(method):
            kind, remedy = "a coroutine function", "Call asyncio.run(...) inside it."
        elif inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            kind, remedy = "a generator function", "Return a value, and do not yield."
        else:
            return
        raise WorkerDefinitionError(f"{type(self).__name__}.{name} is {kind}; expected an ordinary method. {remedy}")

    def _overrides(self, name: str) -> bool:
        own = getattr(type(self), name, None)
        return own is not None and own is not getattr(Worker, name, None)


def definition_of(worker: Worker) -> WorkerDefinition:
    """
    A worker with what it was made of, for those who run it.

    Raises:
        WorkerDefinitionError: Its ``__init__`` did not call this package's.
    """
    if not hasattr(worker, "_model"):
        raise WorkerDefinitionError(
            f"{type(worker).__name__} was built without its parameters class and description; expected its __init__ "
            "to call super().__init__(parameters, description)."
        )
    return WorkerDefinition(worker, worker._model, worker._description, worker._is_media)


def _is_installed(module: str) -> bool:
    """Without importing it. A finder may also say by an error that there is none."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


#: Name of the class of each worker that the program made, until one is started.
_unstarted: list[str] = []


def forget_made() -> None:
    """Say nothing at the end of the program of the workers that were made and not started: somebody has taken them."""
    _unstarted.clear()


def _remember_made(worker: Worker) -> None:
    """
    Tell at the end of the program that a worker was made and never started: a forgotten ``start()`` says nothing else.

    Only of a worker that the script makes in its own lines or in its ``main()``: one made in a test, or by a library,
    is meant to be called by hand.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name in ("__new__", "__init__"):
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") != "__main__" or frame.f_code.co_name not in _OF_A_SCRIPT:
        return
    if not _unstarted:
        atexit.register(_tell_unstarted)
    _unstarted.append(type(worker).__name__)


def _tell_unstarted() -> None:
    is_interactive = hasattr(sys, "ps1") or bool(sys.flags.inspect)
    has_failed = hasattr(sys, "last_type")  # the traceback says why it was not started
    is_tried_by_hand = McaiChannel._is_in_use
    if _unstarted and not is_interactive and not has_failed and not is_tried_by_hand:
        _logger.warning(
            "The program ends, and the worker %s was made but never started. Call its start().", _unstarted[-1]
        )


_OF_A_SCRIPT = ("<module>", "main")
_NOT_OVERRIDDEN = "{name}() must be defined by the worker's class."
