"""The bench's output in Markdown: rows of wanted and reached figures, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One thing that is wanted of the model."""

    name: str
    wanted: str
    reached: str  # with its baselines
    holds: bool | None  # None = not measured in this run


@dataclass
class Section:
    """One part of the run."""

    title: str
    rows: list[Row] = field(default_factory=list)
    text: list[str] = field(default_factory=list)  # Markdown blocks
    figures: dict[str, Any] = field(default_factory=dict)  # for the JSON line

    def markdown(self) -> str:
        return "\n\n".join([f"## {self.title}", *self.text])


def summary(sections: Iterable[Section]) -> str:
    """Every row of every section as one table."""
    verdict = {True: "yes", False: "**no**", None: "not measured"}
    rows = [(row.name, row.wanted, row.reached, verdict[row.holds]) for section in sections for row in section.rows]
    return table(("", "wanted", "reached", "holds"), rows)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([figure(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: Any) -> str:
    """Three decimals for a float, text as it is."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
