"""Sphinx: MyST pages, docstrings of the public names, tables written from the code; nothing comes from the network."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "mcai-worker-sdk"
author = "The mcai-worker-sdk authors"
project_copyright = "2026, the mcai-worker-sdk authors"
release = metadata.version("mcai-worker-sdk")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "tables_from_code"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__new__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True

# `-n` checks every reference. Those into other projects cannot be: their inventories would have to be downloaded.
nitpick_ignore = [("py:class", "tuple[str")]  # Sphinx splits "tuple[str, ...]" at its comma.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!mcai_worker_sdk)[A-Za-z_]+(\..*)?"),
]

_docstrings: dict[str, list[str]] = {}


def setup(app: Sphinx) -> None:
    """
    Keep napoleon away from docstrings of attributes and properties.

    It takes what stands before their first colon for a type ("Empty: none").
    """
    app.connect("autodoc-process-docstring", _keep, priority=400)
    app.connect("autodoc-process-docstring", _restore, priority=600)


def _keep(_app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    if what in {"attribute", "property"}:
        _docstrings[name] = list(lines)


def _restore(_app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    if what in {"attribute", "property"}:
        lines[:] = _docstrings.pop(name)
