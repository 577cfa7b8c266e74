"""Puts moments, curves and the table of plans into one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jepa_ros.types import OccupancyForecast
from jepa_ros.viz import theme
from jepa_ros.viz.report.moments import UNSEEN, Moment

PAGE = Path(__file__).with_name("page.html")
DATA = "/*DATA*/"


@dataclass(frozen=True)
class Grid:
    """Where the cells of the occupancy are, and when its steps are due."""

    rows: int
    columns: int
    resolution_m: float
    origin_m: tuple[float, float]
    times_s: list[float]

    @classmethod
    def of(cls, occupancy: OccupancyForecast) -> Grid:
        times_s = [round(float(time), 2) for time in occupancy.times_s]
        shape = occupancy.probability.shape
        origin = (float(occupancy.origin_m[0]), float(occupancy.origin_m[1]))
        return cls(shape[-2], shape[-1], occupancy.resolution_m, origin, times_s)


@dataclass(frozen=True)
class PlanRow:
    """One answer of the planner."""

    t_s: float | None  # of the forecast that it was made on; None where there was none
    status: str
    message: str
    collision_probability: float | None
    distance_to_goal_m: float | None
    planning_ms: float | None


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    title: str
    note: str
    grid: Grid
    people_times_s: list[float]
    moments: Sequence[Moment]
    surprise: Sequence[tuple[float, float]]  # t s, 0-1
    latency_ms: Sequence[tuple[float, float]]  # t s, from the sensor's message to the forecast; empty where it was not timed
    plans: Sequence[PlanRow]


def write_page(report: Report, path: Path) -> None:
    """One file, without a reference to any other."""
    colours = {"plan": theme.PLAN, "braking": theme.BRAKING, "horizons": theme.HORIZON_COLOURS, "unseen": UNSEEN}
    told = json.dumps(asdict(report) | {"colours": colours}, separators=(",", ":"), allow_nan=False)
    # "</script>" inside a name would end the data.
    page = PAGE.read_text().replace(DATA, told.replace("<", "\\u003c"))
    path.write_text(page, encoding="utf-8")
