"""The public face: which names there are, where they come from, and what importing them costs."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk import errors

#: What the reference exports, and so what existing workers import.
REFERENCE_NAMES = {
    "AudioStreamDescriptor",
    "DataStreamDescriptor",
    "Filter",
    "FormatContext",
    "Frame",
    "JobStatus",
    "McaiChannel",
    "StreamDescriptor",
    "VideoStreamDescriptor",
    "Worker",
    "WorkerDescription",
    "WorkerParameters",
    "__version__",
}

#: Libraries that a worker's script must not pay for before the worker starts.
LATE_LIBRARIES = ["aiormq", "av", "h11", "numpy", "pika", "prometheus_client", "psutil", "rich", "typer"]


def all_modules() -> list[str]:
    walked = pkgutil.walk_packages(mcai.__path__, "mcai_worker_sdk.")
    return sorted(module.name for module in walked if not module.name.endswith("__main__"))


def test_the_package_offers_the_names_of_the_reference():
    assert set(mcai.__all__) == REFERENCE_NAMES


def test_every_name_offered_can_be_imported():
    assert [name for name in mcai.__all__ if not hasattr(mcai, name)] == []


def test_nothing_public_is_importable_that_is_not_offered():
    modules = {module.name.rpartition(".")[2] for module in pkgutil.iter_modules(mcai.__path__)}
    # pytest rewrites the assertions of a package that brings a plugin: its own names begin with "@".
    found = {name for name in dir(mcai) if not name.startswith(("_", "@"))} - modules - {"annotations"}

    assert found == set(mcai.__all__) - {"__version__"}


def test_the_version_is_that_of_the_installed_package():
    assert mcai.__version__ == metadata.version("mcai-worker-sdk")


@pytest.mark.parametrize("name", all_modules())
def test_a_module_defines_every_name_it_lists(name: str):
    module = importlib.import_module(name)

    assert [listed for listed in getattr(module, "__all__", []) if not hasattr(module, listed)] == []


def test_every_error_is_in_the_tree_and_has_one_root():
    classes = [getattr(errors, name) for name in errors.__all__]

    assert all(issubclass(error, errors.WorkerSdkError) for error in classes)
    assert all(error.__name__ in (errors.__doc__ or "") for error in classes)


def test_importing_the_package_loads_no_library_that_only_a_started_worker_needs():
    program = f"import sys, mcai_worker_sdk; print([name for name in {LATE_LIBRARIES!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert ast.literal_eval(loaded) == []


@pytest.mark.parametrize(
    ("imported", "left_out"),
    [
        ("mcai_worker_sdk", ["mcai_worker_sdk.media", "mcai_worker_sdk.supervisor"]),
        ("mcai_worker_sdk.supervisor.start", ["mcai_worker_sdk.exchange", "mcai_worker_sdk.job.runner", "pika"]),
        ("mcai_worker_sdk.supervisor.serve", ["mcai_worker_sdk.job.runner", "mcai_worker_sdk.supervisor.local"]),
        ("mcai_worker_sdk.host.job_loop", ["mcai_worker_sdk.exchange", "pika"]),
    ],
)
def test_each_process_loads_only_what_it_runs(imported: str, left_out: list[str]):
    program = f"import sys, {imported}; print([name for name in {left_out!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert ast.literal_eval(loaded) == []


def test_a_name_that_is_not_there_is_missed_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'mcai_worker_sdk' has no attribute 'Frames'"):
        mcai.Frames  # noqa: B018 - the access is what is tested


def test_the_package_is_marked_as_typed():
    assert (Path(mcai.__file__).parent / "py.typed").is_file()
