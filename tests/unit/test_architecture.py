"""
The rules of the house: which room may import which, and how large a file or a function may grow.

Each rule is a function from a module to its offences. The house is checked by them, and so is a planted fault for each,
because a rule that cannot fail holds nothing.
"""

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.unit.house import PACKAGE, ROOT, Module, imported_names, read_house

#: Floor of each room. A room imports from the floors below it, and from itself.
FLOORS = {
    "addresses": 0,
    "errors": 0,
    "protocol": 0,
    "settings": 0,
    "launch": 0,
    "logs": 0,
    "versions": 1,
    "parameters": 1,
    "description": 1,
    "channel": 1,
    "lifecycle": 1,
    "exchange": 2,
    "services": 2,
    "media": 2,
    "job": 3,
    "host": 4,
    "supervisor": 5,
    "worker": 6,
    "target": 7,
    "testing": 8,
    "cli": 9,
}
#: The package's own __init__ is the street door: it shows what users hold, and no room goes out by it.
FRONT = 6.5

#: Imports between rooms of one floor that are meant, each with its reason.
NEIGHBOURS = {
    ("protocol", "errors"): "bytes that are not an order raise ProtocolError",
    ("settings", "errors"): "a bad value raises SettingsError",
}

#: Imports of the package's own modules inside a function that are meant: (file, imported module), each with its reason.
LATE_IMPORTS = {
    ("worker.py", "supervisor.start"): "the broker's libraries load when a worker starts, not with the package",
    ("supervisor/start.py", "supervisor.local"): "local orders need no broker",
    ("supervisor/start.py", "supervisor.serve"): "the job process starts before anything of the broker is loaded",
    ("supervisor/start.py", "host.thread"): "what runs jobs loads in the supervisor only where it runs them",
    ("supervisor/broker.py", "supervisor.http_endpoint"): "it loads only where MCAI_HTTP_PORT asks for it",
    ("host/process/job_process.py", "host.job_loop"): "the job process loads it beside the supervisor's own start",
    ("services/http.py", "services.http_connection"): "h11 loads with the first request: the environment needs none",
    ("job/runner.py", "media.session"): "PyAV is loaded by the job process of a media worker, and by nothing else",
    ("media/sources/opening.py", "media.sources.live"): "libsrt's binding loads with the first live URL",
    ("media/results/opening.py", "media.results.live"): "the same",
    ("media/reading/selection.py", "media.reading.decoding.data"): "subtitles load where a worker selects them",
    ("media/sources/ttml_file.py", "media.ebu_tt"): "EBU-TT loads with the first document",
    ("__init__.py", "versions"): "which dependency is too old is asked once one of them has failed",
    ("cli/__init__.py", "cli.app"): "without typer the command says what to install",
    **{
        ("cli/app.py", f"cli.{module}"): "help answers at once: what a command needs loads when it runs"
        for module in ("local", "orchestration", "project", "screen", "watching")
    },
    ("testing/plugin.py", "testing"): "pytest loads the plugin wherever the SDK is installed, fixtures or not",
    ("testing/plugin.py", "testing.rabbitmq"): "the same",
}

#: Rooms that may touch the environment, each with its reason.
ENVIRONMENT_READERS = {
    "settings": "every variable is read there",
    "launch": "the environment is handed on, whole, to the worker's command line when that is run again",
    "testing": "a test gives its job another environment, which user code reads by itself",
}

#: Rooms that may import PyAV, each with its reason.
PYAV_IMPORTERS = {
    "media": "it reads and writes what jobs are about",
    "testing": "it writes the files that media workers are tried on",
}

#: What versions of PyAV give differently: of which objects, and the function of media/pyav.py it goes through.
_OF_PYAV = {"container", "stream", "leader", "packet", "frame", "picture", "codec", "av_frame"}
PYAV_DIFFERENCES = {
    **dict.fromkeys(
        ("time_base", "average_rate", "base_rate", "guessed_rate", "sample_aspect_ratio"), (_OF_PYAV, "exact")
    ),
    "metadata": (_OF_PYAV, "plain_tags"),
    "size": ({"container"}, "size_bytes"),
}

#: Lines of a file, and of a function without its docstring, at most.
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 45
#: Files that hold two subjects still, and how long they are at most until they are parted.
LONGER_FILES = {
    "exchange/rabbitmq/exchange.py": 460,  # the port's methods, and what keeps channels and queues up
    "parameters/generator.py": 415,  # what a schema says, and where a dataclass or a model says it
}


def room_of(dotted: str) -> str | None:
    """Room of an imported name of this package (``""`` is its __init__), or None for a name from elsewhere."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ""


def floor_of(room: str) -> float:
    return FLOORS[room] if room else FRONT


# --- the rules ---------------------------------------------------------------------------------------------------


def unknown_room(module: Module) -> Iterator[str]:
    if module.room and module.room not in FLOORS:
        yield f"{module.path} stands on no floor"


def upward_import(module: Module) -> Iterator[str]:
    if module.room and module.room not in FLOORS:
        return
    for line, name in imported_names(module, module.tree):
        room = room_of(name)
        if room is None or room == module.room or (module.room, room) in NEIGHBOURS:
            continue
        if floor_of(room) < floor_of(module.room):
            continue
        yield f"{module.path}:{line} imports {name}, which is not below it"


def late_import(module: Module) -> Iterator[str]:
    for function in module.functions:
        for line, name in imported_names(module, function):
            imported = {name, name.rpartition(".")[0]}
            is_meant = any((module.path, each.removeprefix(f"{PACKAGE}.")) in LATE_IMPORTS for each in imported)
            if room_of(name) is not None and not is_meant:
                yield f"{module.path}:{line} imports {name} inside {function.name}()"


def av_outside_media(module: Module) -> Iterator[str]:
    if module.room not in PYAV_IMPORTERS:
        for line, name in imported_names(module, module.tree):
            if name.split(".")[0] == "av":
                yield f"{module.path}:{line} imports av"


def pyav_of_one_version(module: Module) -> Iterator[str]:
    """What versions of PyAV do differently only ``media/pyav.py`` knows; the rest of the room asks it."""
    if module.room != "media" or module.path == "media/pyav.py":
        return
    calls = [(node, ast.unparse(node.func)) for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    asked_by = {argument: name for call, name in calls for argument in call.args}
    yield from (f"{module.path}:{call.lineno} calls {name}" for call, name in calls if name == "av.open")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in PYAV_DIFFERENCES:
            owners, keeper = PYAV_DIFFERENCES[node.attr]
            owner = ast.unparse(node.value).rpartition(".")[2].removeprefix("_")
            if owner in owners and asked_by.get(node) != keeper:
                yield f"{module.path}:{node.lineno} takes {ast.unparse(node)} without {keeper}()"


def environment_outside_settings(module: Module) -> Iterator[str]:
    if module.room in ENVIRONMENT_READERS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb", "putenv"}:
            yield f"{module.path}:{node.lineno} reads the environment"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if "env" in alias.name:
                    yield f"{module.path}:{node.lineno} imports {alias.name}"


def too_long_file(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    limit = LONGER_FILES.get(module.path, MAX_FILE_LINES)
    if lines > limit:
        yield f"{module.path} has {lines} lines, over {limit}"


def too_long_function(module: Module) -> Iterator[str]:
    for function in module.functions:
        docstring = ast.get_docstring(function, clean=False) or ""
        lines = (function.end_lineno or function.lineno) - function.lineno + 1 - len(docstring.splitlines())
        if lines > MAX_FUNCTION_LINES:
            yield f"{module.path}:{function.lineno} {function.name}() has {lines} lines, over {MAX_FUNCTION_LINES}"


def undocumented_function(module: Module) -> Iterator[str]:
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef)]
    reachable = [step for body in [module.tree, *classes] for step in body.body]
    for function in module.functions:
        if function not in reachable:
            continue
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if not function.name.startswith("_") and lines > 8 and not ast.get_docstring(function):
            yield f"{module.path}:{function.lineno} {function.name}() has no docstring"


def no_public_list(module: Module) -> Iterator[str]:
    """A module that defines public names lists them; ``__main__`` has none to list."""
    defined = [
        node.name
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    listed = any(
        isinstance(target, ast.Name) and target.id == "__all__"
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )
    if defined and not listed:
        yield f"{module.path} defines {', '.join(defined)} and has no __all__"


def swallowed_exception(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and all(isinstance(step, ast.Pass) for step in node.body):
            caught = "" if node.type is None else ast.unparse(node.type)
            if caught in {"", "Exception", "BaseException"}:
                yield f"{module.path}:{node.lineno} swallows {caught or 'everything'}"


def sleep(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield f"{module.path}:{node.lineno} sleeps where an event can be awaited"


def source_out_of_reach(module: Module) -> Iterator[str]:
    """A source is cited so that the reader can open it: a path of this repository, a standard, a library."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"\b(facts?|decisions?) [A-Z]\d", line):
            yield f"{module.path}:{number} cites what is not in this repository"
        yield from (
            f"{module.path}:{number} cites {path}, which does not exist"
            for path in re.findall(r"``((?:docs|tests)/[\w./-]+)``", line)
            if not (ROOT / path).exists()
        )


Rule = Callable[[Module], Iterator[str]]

RULES: list[Rule] = [
    unknown_room,
    upward_import,
    late_import,
    av_outside_media,
    pyav_of_one_version,
    environment_outside_settings,
    too_long_file,
    too_long_function,
    undocumented_function,
    no_public_list,
    swallowed_exception,
    sleep,
    source_out_of_reach,
]

LONG_FUNCTION = "def f():\n    '''Do.'''\n" + "    x = 1\n" * MAX_FUNCTION_LINES

PLANTED: list[tuple[Rule, str, str]] = [
    (unknown_room, "attic.py", ""),
    (upward_import, "protocol/orders.py", "from mcai_worker_sdk.channel import McaiChannel"),
    (upward_import, "exchange/base.py", "from mcai_worker_sdk.services.backend import BackendClient"),
    (upward_import, "services/backend.py", "import mcai_worker_sdk.media"),
    (upward_import, "services/backend.py", "from ..host import runner"),
    (upward_import, "job/runner.py", "from mcai_worker_sdk import Worker"),
    (upward_import, "worker.py", "from mcai_worker_sdk import Filter"),
    (upward_import, "job/runner.py", "if TYPE_CHECKING:\n    from mcai_worker_sdk.worker import Worker"),
    (late_import, "job/runner.py", "def f():\n    from mcai_worker_sdk.errors import JobError"),
    (late_import, "job/runner.py", "async def f():\n    importlib.import_module('mcai_worker_sdk.errors')"),
    (late_import, "worker.py", "def f():\n    from mcai_worker_sdk.host import process"),
    (late_import, "supervisor/start.py", "def f():\n    from mcai_worker_sdk.host.process import ProcessHost"),
    (late_import, "media/sources/opening.py", "def f():\n    from mcai_worker_sdk.media.srt import connect"),
    (av_outside_media, "job/runner.py", "import av.filter"),
    (av_outside_media, "services/system_info.py", "def f():\n    from av import open"),
    (pyav_of_one_version, "media/sources/file.py", "container = av.open(url)"),
    (pyav_of_one_version, "media/reading/decoding/frames.py", "self.time_base = stream.time_base"),
    (pyav_of_one_version, "media/model/frame/frame.py", "rate = float(self._stream.guessed_rate)"),
    (pyav_of_one_version, "media/sources/probe.py", "title = container.metadata['title']"),
    (pyav_of_one_version, "media/damage/source_size.py", "is_long = container.size > 3"),
    (environment_outside_settings, "logs.py", "import os\nos.environ['MCAI_LOG']"),
    (environment_outside_settings, "logs.py", "import os\nos.getenv('MCAI_LOG')"),
    (environment_outside_settings, "exchange/local.py", "from os import environ"),
    (too_long_file, "logs.py", "\n" * (MAX_FILE_LINES + 1)),
    (too_long_file, "exchange/rabbitmq/exchange.py", "\n" * 461),
    (too_long_function, "logs.py", LONG_FUNCTION),
    (undocumented_function, "logs.py", "def f():\n" + "    x = 1\n" * 8),
    (no_public_list, "logs.py", "def f(): ..."),
    (swallowed_exception, "logs.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (sleep, "logs.py", "import time\ntime.sleep(1)"),
    (source_out_of_reach, "logs.py", "# as decided (decision B4)"),
    (source_out_of_reach, "logs.py", "# Source: ``docs/reference/secrets.md``."),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule):
    assert [offence for module in read_house() for offence in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "path", "text"), PLANTED, ids=[f"{rule.__name__}-{index}" for index, (rule, _, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found(rule: Rule, path: str, text: str):
    assert len(list(rule(Module(path, text)))) == 1


def test_every_rule_is_tried_with_a_planted_fault():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_a_late_import_that_has_its_reason_is_let_through():
    module = Module("worker.py", "def start():\n    from mcai_worker_sdk.supervisor.start import start_worker")

    assert [*late_import(module), *upward_import(module)] == []


def test_every_late_import_that_is_let_through_is_used():
    used = {
        (module.path, each.removeprefix(f"{PACKAGE}."))
        for module in read_house()
        for function in module.functions
        for _, name in imported_names(module, function)
        for each in (name, name.rpartition(".")[0])
    }

    assert set(LATE_IMPORTS) - used == set()


# --- cycles ------------------------------------------------------------------------------------------------------


def import_graph(modules: list[Module]) -> dict[str, set[str]]:
    """Which module imports which when it is loaded; imports inside functions are not part of it."""
    names = {module.name for module in modules}
    graph = {}
    for module in modules:
        inner = {line for function in module.functions for line, _ in imported_names(module, function)}
        found = {name for line, name in imported_names(module, module.tree) if line not in inner}
        # "from package.module import thing" names package.module.thing: the longest known prefix is the module.
        targets = {next((known for known in _prefixes(name) if known in names), None) for name in found}
        graph[module.name] = {target for target in targets if target is not None} - {module.name}
    return graph


def _prefixes(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for target in sorted(graph.get(name, ())):
            if cycle := visit(target, [*path, name]):
                return cycle
        done.add(name)
        return None

    return next((cycle for name in sorted(graph) if (cycle := visit(name, []))), None)


def test_no_module_imports_itself_by_way_of_others():
    assert find_cycle(import_graph(read_house())) is None


def test_a_planted_cycle_is_found():
    modules = [
        Module("host/link.py", "from mcai_worker_sdk.host.child import run"),
        Module("host/child.py", "from mcai_worker_sdk.host import inline"),
        Module("host/inline.py", "import mcai_worker_sdk.host.link"),
    ]

    cycle = find_cycle(import_graph(modules))

    assert cycle is not None
    assert set(cycle) == {f"mcai_worker_sdk.host.{name}" for name in ("link", "child", "inline")}


# --- the way of a job --------------------------------------------------------------------------------------------

WAY = re.compile(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|.*\| ([\w ]+) \|$", re.MULTILINE)


def way_of_a_job() -> list[tuple[str, str, str]]:
    """File, function and how it hands on, for each step that the page lists."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    return WAY.findall(page.partition("## The way of one job")[2].partition("\n## ")[0])


def function_named(path: str, name: str) -> ast.AST:
    """A function, or a method as ``Class.method``."""
    (module,) = [module for module in read_house() if module.path == path]
    *classes, function = name.split(".")
    found: ast.AST = module.tree
    for step in (*classes, function):
        (found,) = [node for node in ast.iter_child_nodes(found) if getattr(node, "name", None) == step]
    return found


def calls(function: ast.AST) -> set[str]:
    """Last names of what a function calls."""
    called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in called}


def test_the_page_lists_the_true_way_of_a_job():
    way = way_of_a_job()

    assert len(way) > 10
    for (path, name, hands_on), (_, following, _) in zip(way, [*way[1:], ("", "process", "")], strict=True):
        if hands_on == "call":
            assert following.rpartition(".")[2] in calls(function_named(path, name)), f"{path}: {name}, {following}"
        else:
            assert hands_on in {"its callback", "the queue of events", "the job link", "the queue of commands"}


# --- words -------------------------------------------------------------------------------------------------------

#: What has no place in a source that others read. Joined here, so that this file does not hold it itself.
PRIVATE_PATHS = ["/".join(steps) for steps in [("", "work", ""), ("", "farm", ""), ("", "tmp", "ref", "")]]
NOTES = ["".join(halves) for halves in [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")]]
FORBIDDEN = {
    "a path of one machine": re.compile("|".join(PRIVATE_PATHS)),
    "a note to oneself": re.compile(rf"\b(?:{'|'.join(NOTES)})\b"),
}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".json", ".yml", ".yaml", ".cfg", ".sh", ".txt", ""}
PARTS = ["src", "tests", "docs", "examples", "benchmarks", "packaging", "tools", ".ci"]


def texts_of_the_repository() -> Iterator[tuple[str, str]]:
    files = [path for part in PARTS for path in (ROOT / part).rglob("*")] + list(ROOT.glob("*"))
    for path in sorted(files):
        # In a work tree that git added to another, .git is a file, with the path of that other.
        generated = {"_build", "__pycache__", ".git"} & set(path.parts)
        if path.is_file() and path.suffix in TEXT_SUFFIXES and not generated:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def forbidden_words(path: str, text: str) -> list[str]:
    return [
        f"{path}:{number} holds {what}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def test_no_file_holds_a_path_of_one_machine_or_a_note_to_oneself():
    assert [offence for path, text in texts_of_the_repository() for offence in forbidden_words(path, text)] == []


@pytest.mark.parametrize("word", [*PRIVATE_PATHS, *NOTES])
def test_a_planted_word_is_found(word: str):
    assert len(forbidden_words("x.py", f"first line\n# {word} x")) == 1
