"""Prints the lowest version that `pyproject.toml` permits of each dependency, as constraints for pip."""

import sys
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(lines: list[str]) -> list[str]:
    """Each requirement that applies to this Python, at its lower bound."""
    requirements = [Requirement(line) for line in lines]
    return sorted(
        f"{requirement.name}=={specifier.version}"
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
        for specifier in requirement.specifier
        if specifier.operator in {">=", "~=", "=="}
    )


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    sys.stdout.write("".join(f"{line}\n" for line in lowest(lines)))
