"""
What the house looks like in figures: run ``python -m tools.house`` in a checkout, here or in an older one.

Each figure counts what a reader has to hold in mind: classes that say the same thing, circles, names of other rooms'
insides, long files. The architecture test holds the limits; this prints where the house stands.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

PACKAGE = "mcai_worker_sdk"
#: The modules that say what crosses a border, by the name of the border.
MESSAGES = {
    "effects": "lifecycle/effects.py",
    "events": "lifecycle/events.py",
    "commands": "protocol/commands.py",
    "link": "host/link/messages.py",
    "exchange": "exchange/base.py",
    "orders": "protocol/orders.py",
    "responses": "protocol/responses.py",
}
VERBS = ("run", "initialise", "start", "stop", "discard", "update")


class House:
    """The source of the package."""

    def __init__(self, source: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.lines: dict[str, int] = {}
        for path in sorted(source.rglob("*.py")):
            name, text = path.relative_to(source).as_posix(), path.read_text(encoding="utf-8")
            self.trees[name], self.lines[name] = ast.parse(text), len(text.splitlines())

    def message_classes(self) -> dict[str, int]:
        """Public classes of each border's module."""
        return {
            border: len(_public_classes(self.trees[path])) for border, path in MESSAGES.items() if path in self.trees
        }

    def definitions_of_verbs(self) -> int:
        """Classes and methods that define one of the six verbs about a job, but for the wire's and an author's own."""
        found = 0
        for path, tree in self.trees.items():
            if path == "protocol/orders.py" or _room(path) in {"testing", "cli"}:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    found += node.name.lower().removesuffix("job") in VERBS
                if isinstance(node, ast.FunctionDef) and node.name in VERBS:
                    found += [argument.arg for argument in node.args.args[1:2]] == ["job_id"]
        return found

    def circles(self) -> int:
        """Pairs of modules that import each other, imports for types and late ones included."""
        modules = {self._dotted(path): tree for path, tree in self.trees.items()}
        imports = {name: set(_imported(tree, modules)) for name, tree in modules.items()}
        pairs = {
            tuple(sorted((one, other))) for one, others in imports.items() for other in others if one in imports[other]
        }
        return len({pair for pair in pairs if pair[0] != pair[1]})

    def names_across_rooms(self) -> Counter[str]:
        """Uses of a private attribute that no class of the same room defines, by room."""
        defined: dict[str, set[str]] = {}
        for path, tree in self.trees.items():
            defined.setdefault(_room(path), set()).update(_private_definitions(tree))
        everywhere = set().union(*defined.values())
        return Counter(
            _room(path)
            for path, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and _is_private(node.attr)
            if node.attr in everywhere - defined[_room(path)]
        )

    def longest_function(self) -> tuple[int, str]:
        """Lines of the longest function without its docstring, and where it is."""
        return max(
            (_length(node), f"{path}: {node.name}")
            for path, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )

    def longest_file(self) -> tuple[int, str]:
        """Lines of the longest file, and its name."""
        return max((lines, path) for path, lines in self.lines.items())

    def flat_files(self, room: str) -> int:
        """Modules that lie directly in a room."""
        return sum(path.startswith(f"{room}/") and path.count("/") == 1 for path in self.trees)

    @staticmethod
    def _dotted(path: str) -> str:
        return ".".join([PACKAGE, *path.removesuffix(".py").removesuffix("/__init__").split("/")])


def _public_classes(tree: ast.Module) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def _room(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _imported(tree: ast.Module, modules: Container[str]) -> Iterator[str]:
    """Those of the modules that a module imports; of ``from package import module`` the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (name for name in (full if full in modules else node.module,) if name in modules)


def _private_definitions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if _is_private(name):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()) if _is_private(name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]) if _is_private(name):
                yield name


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = ast.get_docstring(function, clean=False) or ""
    return (function.end_lineno or function.lineno) - function.lineno + 1 - len(docstring.splitlines())


def figures(house: House) -> dict[str, str]:
    """Every figure, as it is printed."""
    messages, private = house.message_classes(), house.names_across_rooms()
    by_border = ", ".join(f"{border} {count}" for border, count in messages.items())
    by_room = ", ".join(f"{room} {count}" for room, count in private.most_common())
    return {
        "lines of source": str(sum(house.lines.values())),
        "files": str(len(house.lines)),
        "message classes": f"{sum(messages.values())} ({by_border})",
        "definitions of the six verbs": str(house.definitions_of_verbs()),
        "import circles": str(house.circles()),
        "flat files in media": str(house.flat_files("media")),
        "private names across rooms": f"{private.total()} ({by_room})",
        "longest file": "{} lines, {}".format(*house.longest_file()),
        "longest function": "{} lines, {}".format(*house.longest_function()),
    }


def main() -> None:
    """Print the figures of the checkout in the current directory, or of those named."""
    checkouts = [Path(argument) for argument in sys.argv[1:]] or [Path.cwd()]
    columns = [figures(House(checkout / "src" / PACKAGE)) for checkout in checkouts]
    for name in columns[0]:
        for checkout, column in zip(checkouts, columns, strict=True):
            print(f"{name:30} {column[name]}" + (f"  [{checkout.name}]" if len(checkouts) > 1 else ""))


if __name__ == "__main__":
    main()
