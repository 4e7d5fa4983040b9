"""The examples, run as their READMEs say: a script, from its folder, on orders in files."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MINIMAL = EXAMPLES / "minimal"
FILE_DIGEST = EXAMPLES / "file_digest"


def start_worker(folder: Path, script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_worker(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    worker = start_worker(folder, script, **variables)
    stdout, stderr = worker.communicate(timeout=50)
    return subprocess.CompletedProcess(worker.args, worker.returncode, stdout, stderr)


def responses(log: str, kind: str) -> list[dict[str, Any]]:
    """The logged responses of one kind: ``Feedback``, ``Completed``, ``Stopped``, ``Error``."""
    marker = f'{{"{kind}"'
    return [json.loads(line[line.index(marker) :])[kind] for line in log.splitlines() if marker in line]


def run_file_digest(folder: Path, **parameters: Any) -> subprocess.CompletedProcess[str]:
    order = folder / "order.json"
    listed = [{"id": name, "type": "any", "value": value} for name, value in parameters.items()]
    order.write_text(json.dumps({"job_id": 7, "parameters": listed}))
    return run_worker(FILE_DIGEST, "file_digest_worker/worker.py", SOURCE_ORDERS=str(order))


def test_the_minimal_worker_runs_by_the_command_of_its_readme():
    command = "SOURCE_ORDERS=examples/source_order.json python py_mcai_worker/worker.py"
    assert command in (MINIMAL / "README.md").read_text()

    worker = run_worker(MINIMAL, "py_mcai_worker/worker.py", SOURCE_ORDERS="examples/source_order.json")

    assert worker.returncode == 0, worker.stderr
    assert worker.stderr.count("Hello, Media Cloud AI!") == 4
    assert [feedback["progression"] for feedback in responses(worker.stderr, "Feedback")] == [0, 25, 50, 75, 100]
    (completed,) = responses(worker.stderr, "Completed")
    assert completed["job_id"] == 123
    assert [(entry["id"], entry["type"], entry["value"]) for entry in completed["parameters"]] == [
        ("greetings", "integer", 4)
    ]


def test_the_worker_that_the_readme_shows_runs_as_it_stands_there(tmp_path: Path):
    readme = (EXAMPLES.parent / "README.md").read_text()
    code = readme.split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "worker.py").write_text(code)
    (tmp_path / "pyproject.toml").write_text((MINIMAL / "pyproject.toml").read_text())

    worker = run_worker(tmp_path, "worker.py", SOURCE_ORDERS=str(MINIMAL / "examples" / "source_order.json"))

    assert worker.returncode == 0, worker.stderr
    assert worker.stderr.count("Hello, Media Cloud AI!") == 4


def test_the_minimal_worker_describes_itself():
    worker = run_worker(MINIMAL, "py_mcai_worker/worker.py", DESCRIBE="1")

    description = json.loads(worker.stdout)
    assert worker.returncode == 0
    assert (description["name"], description["version"], description["license"]) == ("my_python_worker", "1.2.3", "MIT")
    assert description["parameters"]["required"] == ["name"]
    assert description["parameters"]["properties"]["times"]["default"] == 3


def test_the_orders_of_file_digest_run_as_they_lie_there(tmp_path: Path):
    orders = []
    for source in sorted((FILE_DIGEST / "orders").glob("*.json")):
        order = json.loads(source.read_text())
        (destination,) = [entry for entry in order["parameters"] if entry["id"] == "destination_path"]
        destination["value"] = str(tmp_path / Path(destination["value"]).name)
        orders.append(tmp_path / source.name)
        orders[-1].write_text(json.dumps(order))

    worker = run_worker(
        FILE_DIGEST, "file_digest_worker/worker.py", SOURCE_ORDERS=os.pathsep.join(str(order) for order in orders)
    )

    assert worker.returncode == 0, worker.stderr
    one, several = (
        json.loads((tmp_path / f"{name}.manifest.json").read_text()) for name in ("one_file", "several_files")
    )
    content = (FILE_DIGEST / "pyproject.toml").read_bytes()
    assert one["files"] == [
        {
            "path": "pyproject.toml",
            "size_bytes": len(content),
            "digests": {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "blake2b")},
        }
    ]
    assert [file["path"] for file in several["files"]] == ["pyproject.toml", "README.md"]


def test_file_digest_reads_in_chunks_and_reports_each(tmp_path: Path):
    source, manifest = tmp_path / "source.bin", tmp_path / "manifest.json"
    content = bytes(range(256)) * 64
    source.write_bytes(content)

    worker = run_file_digest(
        tmp_path,
        source_path=str(source),
        source_paths=[str(source)],
        destination_path=str(manifest),
        algorithms=["md5", "sha3_256"],
        chunk_bytes=4096,
    )

    assert [feedback["progression"] for feedback in responses(worker.stderr, "Feedback")] == [0, 25, 50, 75, 100]
    (completed,) = responses(worker.stderr, "Completed")
    assert completed["destination_paths"] == [str(manifest)]
    assert [(entry["id"], entry["value"]) for entry in completed["parameters"]] == [("total_bytes", len(content))]
    (file,) = json.loads(manifest.read_text())["files"]
    assert file["digests"] == {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha3_256")}


def test_file_digest_takes_an_empty_file(tmp_path: Path):
    (tmp_path / "empty").touch()

    worker = run_file_digest(
        tmp_path, source_path=str(tmp_path / "empty"), destination_path=str(tmp_path / "manifest.json")
    )

    assert worker.returncode == 0, worker.stderr
    (file,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert file["size_bytes"] == 0


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, ["source_path", "source_paths"]),
        ({"source_path": "x", "algorithms": ["crc32"]}, ["algorithms", "sha256"]),
        ({"source_path": "x", "algorithms": []}, ["algorithms"]),
        ({"source_path": "x", "chunk_bytes": 1}, ["chunk_bytes", "4096"]),
        ({"source_path": "does/not/exist"}, ["FileNotFoundError", "does/not/exist"]),
    ],
    ids=["no source", "unknown algorithm", "no algorithm", "chunk too small", "missing file"],
)
def test_a_wrong_order_to_file_digest_ends_in_one_error_that_names_the_fault(
    tmp_path: Path, parameters: dict[str, Any], named: list[str]
):
    manifest = tmp_path / "manifest.json"

    worker = run_file_digest(tmp_path, **parameters, destination_path=str(manifest))

    assert worker.returncode == 1
    (error,) = responses(worker.stderr, "Error")
    (message,) = error["parameters"]
    assert [word for word in named if word not in message["value"]] == []
    assert not manifest.exists()


def test_file_digest_stops_within_a_chunk_and_leaves_no_manifest(tmp_path: Path):
    source, order, manifest = tmp_path / "source.bin", tmp_path / "order.json", tmp_path / "manifest.json"
    source.touch()
    os.truncate(source, 1 << 40)  # Sparse: a terabyte to read that takes no room.
    parameters = [
        {"id": "source_path", "type": "string", "value": str(source)},
        {"id": "destination_path", "type": "string", "value": str(manifest)},
    ]
    order.write_text(json.dumps({"job_id": 7, "parameters": parameters}))

    worker = start_worker(FILE_DIGEST, "file_digest_worker/worker.py", SOURCE_ORDERS=str(order))
    assert worker.stderr is not None
    try:
        seen = next(line for line in worker.stderr if '"progression": 0' in line)
        worker.send_signal(signal.SIGINT)
        log = seen + worker.communicate(timeout=30)[1]
    finally:
        worker.kill()

    (stopped,) = responses(log, "Stopped")
    assert stopped["destination_paths"] == []
    assert list(tmp_path.glob("*manifest*")) == []


@pytest.mark.parametrize("name", sorted(path.parents[1].name for path in EXAMPLES.glob("*/tests/test_worker.py")))
def test_an_examples_own_tests_pass_where_its_folder_is_all_there_is(name: str, tmp_path: Path):
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_every_example_has_tests_of_its_own():
    assert {path.parent.name for path in EXAMPLES.glob("*/pyproject.toml")} == {
        path.parents[1].name for path in EXAMPLES.glob("*/tests/test_worker.py")
    }


def test_the_demo_ends_well_and_finds_both_digests_right():
    demo = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count("  right\n") == 2
