"""Two runs of one bag side by side: people and occupancy over time, how plans were answered, and what each stage cost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jepa_ros.types import NANOSECONDS
from jepa_ros.viz import theme

OLD, NEW, GAINED, LOST = "#64748b", "#0284c7", "#059669", "#be123c"


class Compared(Protocol):
    """What is drawn; `jepa_ros.ros.tools.replay.compare.Comparison`."""

    @property
    def old(self) -> Any: ...
    @property
    def new(self) -> Any: ...
    @property
    def moments(self) -> list[Any]: ...
    @property
    def latency_ms(self) -> dict[str, tuple[float, float]]: ...
    @property
    def details(self) -> dict[str, list[str]]: ...


def draw_comparison(comparison: Compared, path: str | Path) -> None:
    """Write the picture to `path` (PNG)."""
    figure = Figure(figsize=(14, 8.6), dpi=110, facecolor=theme.PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    (people, occupancy), (plans, latency) = figure.subplots(2, 2)
    time_s = np.array([moment.stamp_ns for moment in comparison.moments], dtype=np.int64)
    time_s = (time_s - time_s[0]) / NANOSECONDS
    _people(people, comparison, time_s)
    _occupancy(occupancy, comparison, time_s)
    _plans(plans, comparison)
    _latency(latency, comparison)
    settings = comparison.details.get("settings", ["no setting differs"])
    shown = "\n".join(settings[:3]) + (f"\n... and {len(settings) - 3} more" if len(settings) > 3 else "")
    figure.suptitle(f"{comparison.old.folder}  ->  {comparison.new.folder}\n{shown}", fontsize=10.5, color=theme.INK)
    figure.savefig(path, facecolor=theme.PAPER)


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=theme.INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=theme.MUTED)
    axes.set_axisbelow(True)


def _people(axes: Axes, comparison: Compared, time_s: np.ndarray) -> None:
    moments = comparison.moments
    axes.bar(time_s, [moment.gained for moment in moments], _bar_width(time_s), color=GAINED, label="gained")
    axes.bar(time_s, [-moment.lost for moment in moments], _bar_width(time_s), color=LOST, label="lost")
    axes.plot(time_s, [moment.people_old for moment in moments], color=OLD, lw=3.5, alpha=0.5, label="tracked, old")
    axes.plot(time_s, [moment.people_new for moment in moments], color=NEW, lw=1.4, label="tracked, new")
    axes.axhline(0, color=theme.GRID, lw=0.8)
    axes.set_xlabel("time in the bag, s", fontsize=8.5)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower left")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.18 * (high - low), high)
    _bare(axes, f"People: {sum(m.gained for m in moments)} gained, {sum(m.lost for m in moments)} lost, over all frames")


def _bar_width(time_s: np.ndarray) -> float:
    return float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.1


def _occupancy(axes: Axes, comparison: Compared, time_s: np.ndarray) -> None:
    percent = 100 * np.array([moment.occupancy for moment in comparison.moments])
    axes.fill_between(time_s, percent, color=NEW, alpha=0.25, lw=0)
    axes.plot(time_s, percent, color=NEW, lw=1.4)
    axes.set_xlabel("time in the bag, s", fontsize=8.5)
    axes.set_ylabel("%", fontsize=8.5)
    known = percent[np.isfinite(percent)]
    axes.set_ylim(0, max(1.0, 1.15 * known.max() if len(known) else 1.0))
    mean = f"{known.mean():.2f} % in the mean" if len(known) else "no occupancy in either"
    _bare(axes, f"Occupied cells that only one has: {mean}")


def _plans(axes: Axes, comparison: Compared) -> None:
    counts = [Counter(plan["status"] for plan in run.plans) for run in (comparison.old, comparison.new)]
    names = [name for name, _ in (counts[0] + counts[1]).most_common()]
    place = np.arange(len(names))
    for offset, count, colour, label in ((-0.2, counts[0], OLD, "old"), (0.2, counts[1], NEW, "new")):
        bars = axes.barh(place + offset, [count[name] for name in names], 0.38, color=colour, label=label)
        axes.bar_label(bars, fontsize=8, padding=3, color=theme.INK)
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False)
    _bare(axes, "Plans by status")


def _latency(axes: Axes, comparison: Compared) -> None:
    stages = list(comparison.latency_ms)
    place = np.arange(len(stages))
    for offset, which, colour, label in ((-0.2, 0, OLD, "old"), (0.2, 1, NEW, "new")):
        spent = [comparison.latency_ms[stage][which] for stage in stages]
        bars = axes.barh(place + offset, spent, 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=3, color=theme.INK)
    axes.set_yticks(place, stages)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("p50, ms", fontsize=8.5)
    axes.legend(fontsize=8, frameon=False)
    _bare(axes, "Time of each stage (not part of the hash)")
