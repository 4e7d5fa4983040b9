"""
Directives that write tables from the code, so that documentation and code cannot disagree.

``environment-tables`` prints every environment variable and makes it a target of the ``envvar`` role;
``settlement-table`` prints how each delivery is settled; ``error-tree`` prints the tree of the errors;
``lifecycle-table`` prints what the lifecycle's events, or its effects, mean; ``metrics-table`` prints what ``/metrics``
shows.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence

from docutils import nodes
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from mcai_worker_sdk import errors
from mcai_worker_sdk.lifecycle import effects, events
from mcai_worker_sdk.lifecycle.settlement import SETTLEMENT_TABLE
from mcai_worker_sdk.settings import EnvironmentVariable, environment_tables
from mcai_worker_sdk.supervisor.metrics import WorkerFigures, WorkerState, render_metrics

Cell = list[nodes.Node]


def text(words: str) -> Cell:
    """A cell of plain words."""
    return [nodes.paragraph("", words)] if words else []


def code(words: str) -> Cell:
    """A cell of one piece of code."""
    return [nodes.paragraph("", "", nodes.literal("", words))] if words else []


def table(titles: Sequence[str], rows: Sequence[Sequence[Cell]], widths: Sequence[int]) -> nodes.table:
    """A table as docutils wants it."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(titles))
    head = nodes.thead("", _row([text(title) for title in titles]))
    body = nodes.tbody("", *(_row(cells) for cells in rows))
    group += [head, body]
    return nodes.table("", group, classes=["colwidths-given"])


def _row(cells: Sequence[Cell]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells))


class EnvironmentTables(SphinxDirective):
    """Every variable there is: one section and one table for each group of settings."""

    def run(self) -> list[nodes.Node]:
        """Write the tables."""
        return [self._section(group.title, group.rows) for group in environment_tables()]

    def _section(self, title: str, variables: Sequence[EnvironmentVariable]) -> nodes.section:
        rows = [
            [self._named(row.variable), text(row.description), code(row.default), text(row.allowed)]
            for row in variables
        ]
        section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)])
        section += table(["Variable", "Meaning", "Default", "Allowed"], rows, [28, 40, 14, 18])
        return section

    def _named(self, variable: str) -> Cell:
        target = nodes.make_id(f"envvar-{variable}")
        domain = self.env.get_domain("std")
        assert isinstance(domain, StandardDomain)
        domain.note_object("envvar", variable, target, location=self.get_source_info())
        return [nodes.paragraph("", "", nodes.literal("", variable), ids=[target])]


class SettlementTable(SphinxDirective):
    """How each delivery is settled, case by case."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        rows = [
            [code(case.name), text(case.value), text(published or "nothing")]
            for case, published in SETTLEMENT_TABLE.items()
        ]
        return [table(["Case", "When", "Published and confirmed first"], rows, [24, 50, 26])]


class ErrorTree(SphinxDirective):
    """The tree of the errors, as it is drawn at the top of their module."""

    def run(self) -> list[nodes.Node]:
        """Copy the drawing."""
        drawing = inspect.cleandoc(errors.__doc__ or "").split("::\n\n", 1)[1]
        lines = [line for line in drawing.splitlines() if line.startswith("    ")]
        tree = textwrap.dedent("\n".join(lines))
        return [nodes.literal_block(tree, tree, language="text")]


class LifecycleTable(SphinxDirective):
    """The lifecycle's ``events`` or ``effects``, in the words of their docstrings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        module = {"events": events, "effects": effects}[self.arguments[0]]
        kinds = [getattr(module, name) for name in module.__all__]
        rows = [[code(kind.__name__), self.words(kind)] for kind in kinds if inspect.isclass(kind)]
        return [table([self.arguments[0].removesuffix("s").title(), "Meaning"], rows, [24, 76])]

    def words(self, kind: type) -> Cell:
        """A docstring, with its code set as code."""
        return self.parse_text_to_nodes((inspect.getdoc(kind) or "").replace("``", "`"))


class MetricsTable(SphinxDirective):
    """Every metric, read from the text of a worker that has done nothing yet."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        identity = dict.fromkeys(("name", "version", "instance_id", "queue_name"), "")
        state = WorkerState(in_flight=False, connected=True, resident_memory_bytes={"supervisor": 0, "job": 0})
        families = text_string_to_metric_families(render_metrics(WorkerFigures(identity), state).decode())
        rows = [
            [self._names(family), text(family.type), self._labels(family), text(family.documentation)]
            for family in families
        ]
        return [table(["Name", "Type", "Labels and their values", "Meaning"], rows, [36, 12, 32, 20])]

    def _names(self, family: Metric) -> Cell:
        return [cell for name in dict.fromkeys(sample.name for sample in family.samples) for cell in code(name)]

    def _labels(self, family: Metric) -> Cell:
        """One label a line; the values where the worker does not choose them."""
        values: dict[str, list[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, []).append(value)
        lines: Cell = []
        for label, found in values.items():
            shown = f": {', '.join(found)}" if any(found) else ""
            lines.append(nodes.paragraph("", "", nodes.literal("", label), nodes.Text(shown)))
        return lines


def setup(app: Sphinx) -> ExtensionMetadata:
    """Make the directives known."""
    app.add_directive("environment-tables", EnvironmentTables)
    app.add_directive("settlement-table", SettlementTable)
    app.add_directive("error-tree", ErrorTree)
    app.add_directive("lifecycle-table", LifecycleTable)
    app.add_directive("metrics-table", MetricsTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
