"""What the command can do, and the words of its help. What does it is loaded by the command that needs it."""

from __future__ import annotations

import enum
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mcai_worker_sdk.errors import WorkerDefinitionError, WorkerSdkError

__all__ = ["Kind", "app", "run_command"]

# Plain help: rich would take longer to load than all the rest.
app = typer.Typer(
    name="mcai-worker",
    help=(
        "Write, run and check Media Cloud AI workers.\n\n"
        "TARGET names a worker: module:Class (my_worker.worker:MyWorker), or the script that starts it "
        "(my_worker/worker.py).\n\n"
        "The commands from submit on talk to workers behind a broker, by the variables that a worker connects by: "
        "AMQP_HOSTNAME, AMQP_VHOST, AMQP_QUEUE and so on.\n\n"
        "Begin with: mcai-worker new my-worker"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Kind(enum.StrEnum):
    """What a new project's worker works on."""

    MINIMAL = "minimal"
    FILE = "file"
    VIDEO = "video"
    AUDIO = "audio"
    SUBTITLES = "subtitles"


Target = Annotated[str, typer.Argument(metavar="TARGET", help="The worker: module:Class, or its script.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def run_command() -> NoReturn:
    """Run the command; what goes wrong in a way that is known is told in one line."""
    try:
        app()
    except WorkerSdkError as error:
        told = _traceback_of(error.__cause__) if isinstance(error, WorkerDefinitionError) else ""
        sys.exit(f"{told}mcai-worker: {error}")
    sys.exit(0)


def _traceback_of(cause: BaseException | None) -> str:
    """Where the author's own code failed; empty where it did not."""
    if cause is None or isinstance(cause, WorkerSdkError):
        return ""
    told = traceback.TracebackException.from_exception(cause)
    own = [frame for frame in told.stack if frame.filename not in _LOADERS and "importlib" not in frame.filename]
    told.stack = traceback.StackSummary.from_list(own)
    return "".join(told.format()) if own else ""


#: Whose frames say nothing of the author's code.
_LOADERS = frozenset({str(Path(__file__).parents[1] / "target.py")})


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The project: letters, digits, - and _.")],
    kind: Annotated[Kind | None, typer.Option(help="What the worker works on; minimal unless said.")] = None,
    media: Annotated[bool, typer.Option("--media", help="A media worker: the same as --kind video.")] = False,
) -> None:
    """Make a project in a new folder.

    Worker, parameters, test, order, Dockerfile, compose file: it runs as it is made.
    """
    from mcai_worker_sdk.cli.project import make_project

    if media and kind in {Kind.MINIMAL, Kind.FILE}:
        raise typer.BadParameter(f"--media is given, and --kind is {kind}; expected video, audio or subtitles.")
    chosen = kind or (Kind.VIDEO if media else Kind.MINIMAL)
    for line in make_project(name, chosen.value, Path.cwd()):
        typer.echo(line)


@app.command()
def run(  # noqa: PLR0917 - typer reads arguments and options from the signature
    target: Target,
    orders: Annotated[list[Path] | None, typer.Argument(metavar="ORDER...", help="Files with one order each.")] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter, instead of an order file."),
    ] = None,
    param_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON object with parameters; -p has the last word.")
    ] = None,
    job_id: Annotated[int, typer.Option(min=0, help="The job, where no order file says it.")] = 1,
    watch: Annotated[bool, typer.Option("--watch", help="Run again whenever a file of the project changes.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log the responses too, and what is logged at DEBUG.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run orders here, without a broker. The exit code is 1 when one failed."""
    from mcai_worker_sdk.cli.local import LocalRun
    from mcai_worker_sdk.cli.watching import run_again_on_change

    files = [*(orders or []), *([param_file] if param_file else [])]
    if watch:
        raise typer.Exit(run_again_on_change([argument for argument in sys.argv[1:] if argument != "--watch"], files))
    local = LocalRun(target, orders or [], parameters or [], param_file, job_id)
    raise typer.Exit(local.run(verbose=verbose, as_json=as_json))


@app.command()
def check(
    target: Target,
    orders: Annotated[list[Path], typer.Argument(metavar="ORDER...", help="Files with one order each.")],
    as_json: Json = False,
) -> None:
    """Name every fault of orders. Nothing is run."""
    from mcai_worker_sdk.cli.local import check_orders

    raise typer.Exit(check_orders(target, orders, as_json=as_json))


@app.command()
def order(target: Target, job_id: Annotated[int, typer.Option(min=0, help="The job.")] = 1) -> None:
    """Print an example order, to be filled in."""
    from mcai_worker_sdk.cli.local import print_example

    print_example(target, job_id)


@app.command()
def describe(target: Target, as_json: Json = False) -> None:
    """Print who the worker is, and its parameters.

    With --json: what it announces to the orchestrator.
    """
    from mcai_worker_sdk.cli.local import print_description

    print_description(target, as_json=as_json)


@app.command()
def schema(target: Target) -> None:
    """Print the parameters' JSON Schema."""
    from mcai_worker_sdk.cli.local import print_schema

    print_schema(target)


# --- against a broker: the connection is that of the environment, as a worker's ---------------------------------------

Orders = Annotated[list[Path] | None, typer.Argument(metavar="ORDER...", help="Files with one order each.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter; JSON, else text.")
]
Worker = Annotated[str | None, typer.Option(metavar="ID", help="One worker, by its instance id.")]
Queue = Annotated[str | None, typer.Option(metavar="QUEUE", help="The workers of this queue.")]
Seconds = Annotated[float, typer.Option("--wait", min=0.1, metavar="SECONDS", help="How long to wait for answers.")]
Job = Annotated[int, typer.Argument(metavar="JOB", min=0, help="The job's id.")]


@app.command()
def submit(  # noqa: PLR0917 - typer reads arguments and options from the signature
    orders: Orders = None,
    parameters: Parameters = None,
    param_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A JSON object with parameters.")] = None,
    job_id: Annotated[int, typer.Option(min=0, help="The job, where no order file says it.")] = 1,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="The job queue; AMQP_QUEUE unless said.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Of the orders, in a classic queue.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the results.")] = False,
    as_json: Json = False,
) -> None:
    """Send orders to a queue, wait for results."""
    from mcai_worker_sdk.cli.orchestration import read_orders, submit_orders

    sent = read_orders(orders or [], parameters or [], param_file, job_id)
    raise typer.Exit(submit_orders(sent, queue, priority=priority, detach=detach, as_json=as_json))


@app.command()
def status(worker: Worker = None, queue: Queue = None, wait: Seconds = 2.0, as_json: Json = False) -> None:
    """Ask workers what they are doing."""
    _ask("status", worker, queue, wait, as_json)


@app.command()
def pause(worker: Worker = None, queue: Queue = None, wait: Seconds = 2.0, as_json: Json = False) -> None:
    """Have workers take no new jobs."""
    _ask("stop_consuming_jobs", worker, queue, wait, as_json)


@app.command()
def resume(worker: Worker = None, queue: Queue = None, wait: Seconds = 2.0, as_json: Json = False) -> None:
    """Have workers take jobs again."""
    _ask("resume_consuming_jobs", worker, queue, wait, as_json)


@app.command()
def stop(job: Job, worker: Worker = None, wait: Seconds = 30.0, as_json: Json = False) -> None:
    """Have the worker that runs a job stop it."""
    _about_job("stop_process", job, [], worker, _RESULTS, wait, as_json)


@app.command()
def update(
    job: Job, parameters: Parameters = None, worker: Worker = None, wait: Seconds = 10.0, as_json: Json = False
) -> None:
    """Give a running job new parameters."""
    _about_job("update_process", job, parameters or [], worker, frozenset({"worker_updated"}), wait, as_json)


@app.command()
def init(
    job: Job,
    worker: Annotated[str, typer.Option(metavar="ID", help="The worker, by its instance id.")],
    parameters: Parameters = None,
    wait: Seconds = 30.0,
    as_json: Json = False,
) -> None:
    """Have a worker prepare a job, to start later."""
    answers = frozenset({"worker_initialized", "job_error"})
    _about_job("init_process", job, parameters or [], worker, answers, wait, as_json)


@app.command()
def start(
    job: Job,
    worker: Annotated[str, typer.Option(metavar="ID", help="The worker that prepared it, by its instance id.")],
    parameters: Parameters = None,
    wait: Seconds = 30.0,
    as_json: Json = False,
) -> None:
    """Have a worker start the job it prepared."""
    _about_job("start_process", job, parameters or [], worker, _RESULTS | {"worker_started"}, wait, as_json)


@app.command()
def events(
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None, as_json: Json = False
) -> None:
    """Print what workers publish, until Ctrl-C."""
    from mcai_worker_sdk.cli.orchestration import print_events

    raise typer.Exit(print_events(as_json=as_json, count=count))


@app.command()
def watch() -> None:
    """Show the workers as they are now; keys stop and pause."""
    from mcai_worker_sdk.cli.screen import watch as watch_workers

    raise typer.Exit(watch_workers())


black_list = typer.Typer(
    help="Jobs whose orders are dropped.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.add_typer(black_list, name="black-list")


@black_list.command()
def add(job: Job, worker: Worker = None, queue: Queue = None) -> None:
    """Drop the job when its order arrives."""
    _ask("add_to_black_list", worker, queue, 0.0, as_json=False, job=job)


@black_list.command()
def remove(job: Job, worker: Worker = None, queue: Queue = None) -> None:
    """Accept the job again."""
    _ask("delete_from_black_list", worker, queue, 0.0, as_json=False, job=job)


@black_list.command()
def show(worker: Worker = None, queue: Queue = None, wait: Seconds = 2.0, as_json: Json = False) -> None:
    """Print each worker's black list."""
    _ask("get_black_list", worker, queue, wait, as_json)


_RESULTS = frozenset({"job_completed", "job_stopped", "job_error"})
#: What a worker answers to which message; to those that are not here, nothing.
_ANSWERS = {
    "status": "worker_status",
    "stop_consuming_jobs": "worker_status",
    "resume_consuming_jobs": "worker_status",
    "get_black_list": "worker_black_list",
}


def _ask(
    kind: str, worker: str | None, queue: str | None, seconds: float, as_json: bool, *, job: int | None = None
) -> NoReturn:
    from mcai_worker_sdk.cli.orchestration import Addressee, Waiting, ask

    message = {"type": kind} if job is None else {"type": kind, "job_id": job}
    raise typer.Exit(ask(message, Addressee(worker, queue), _ANSWERS.get(kind), Waiting(seconds, as_json)))


def _about_job(  # noqa: PLR0917 - the arguments of the command above
    kind: str,
    job: int,
    parameters: list[str],
    worker: str | None,
    answers: frozenset[str],
    seconds: float,
    as_json: bool,
) -> NoReturn:
    from mcai_worker_sdk.cli.orchestration import Addressee, Waiting, direct_job, job_message

    message = job_message(kind, job, parameters)
    raise typer.Exit(direct_job(message, Addressee(worker), answers, Waiting(seconds, as_json)))
