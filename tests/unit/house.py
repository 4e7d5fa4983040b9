"""The source of the package as the tests of the house's rules read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

__all__ = ["PACKAGE", "ROOT", "Module", "imported_names", "is_underscored", "names_defined_in", "read_house"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "mcai_worker_sdk"
SOURCE = ROOT / "src" / PACKAGE


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    path: str
    """Relative to the package, with slashes."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def name(self) -> str:
        parts = [PACKAGE, *self.path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        """First step of the path; the empty string is the package's own __init__."""
        first = self.path.split("/")[0].removesuffix(".py")
        return "" if first == "__init__" else first

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def read_house() -> list[Module]:
    paths = sorted(SOURCE.rglob("*.py"))
    return [Module(path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def imported_names(module: Module, root: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import below ``root``; ``from a import b`` gives ``a.b``, import_module counts."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in ast.walk(root):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called_name(node).endswith(("import_module", "__import__")):
            arguments = [item.value for item in node.args if isinstance(item, ast.Constant)]
            yield from ((node.lineno, str(value)) for value in arguments[:1])


def _called_name(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_underscored(name: str) -> bool:
    """True for a name that is somebody's own by its underscore; not for one that Python itself reads."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_"


@cache
def names_defined_in(module: Module) -> frozenset[str]:
    """What the module itself calls by a name: its functions, classes, variables, arguments, attributes of ``self``."""
    names = set()
    for node in ast.walk(module.tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                names |= {str(part.value) for part in ast.walk(value) if isinstance(part, ast.Constant)}
    return frozenset(names)
