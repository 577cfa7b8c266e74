"""Makes report.html, a film and output.rrd after a run, from its recording and the bag."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.tools.output_bag import header_stamp_ns
from jepa_ros.ros.tools.output_log import OBJECTS, OCCUPANCY, PEDESTRIANS, OutputLog, plan_of
from jepa_ros.ros.tools.run_report import picture_note
from jepa_ros.sensing import open_bag, read_raw
from jepa_ros.types import NANOSECONDS, Observation, Plan, SceneState
from jepa_ros.viz.film import draw_frame, save_gif
from jepa_ros.viz.report.moments import Moment, moment
from jepa_ros.viz.report.page import Grid, PlanRow, Report, write_page

if TYPE_CHECKING:
    from jepa_ros.viz.rrd import Recording

MOST_MOMENTS = 80  # of the page: about 0.1 MB each
FILM_RATE_HZ, MOST_PICTURES = 3.0, 24  # half a second of work each
PLAN_HOLDS_NS = 2 * NANOSECONDS  # an older plan is not shown
FILM, RRD = "demo.gif", "output.rrd"


def tell(log: OutputLog, bag: Path, out: Path, timed: bool = True, film: bool = True, robot: Footprint | float = 0.4) -> list[Path]:
    """Writes OUT/report.html, OUT/demo.gif and, with rerun-sdk, OUT/output.rrd from OUT/output.mcap; what was written.

    timed: show times, which differ from run to run. Without, nothing is written that is not the same each time: no output.rrd. robot: a
    number is the radius of a disc, m.
    """
    stamps = {topic: {stamp for stamp, _ in _messages(out, topic)} for topic in (OCCUPANCY, PEDESTRIANS)}
    whole = sorted(stamps[OCCUPANCY] & stamps[PEDESTRIANS])
    if not whole:
        return []
    shown = {whole[round(index)] for index in np.linspace(0, len(whole) - 1, min(len(whole), MOST_MOMENTS))}
    filmed = _filmed(whole) if film else set()
    moments, pictures, grid, times_s, rrd = [], [], None, [], None
    for observation, state, plan in _scenes(log, bag, out, shown | filmed, timed):
        if state.stamp_ns in shown:
            moments.append(moment(observation, state, plan, whole[0]))
            rrd = rrd or (_rrd(out, whole[0], moments[0], robot) if timed else None)
            if rrd is not None:
                rrd.add(observation, state, plan, moments[-1])
            grid, times_s = grid or Grid.of(state.occupancy), state.pedestrians.times_s.tolist() or times_s
        if state.stamp_ns in filmed:
            pictures.append(draw_frame(observation, state, plan, robot))
    if not moments or grid is None:  # the bag's stamps are not those of the recording
        return []
    surprise = [(_since(stamp, whole[0]), round(value, 3)) for stamp, value in sorted(log.surprise.items()) if math.isfinite(value)]
    latency = [(_since(stamp, whole[0]), round(value, 1)) for stamp, value in sorted(log.latency_ms.items())] if timed else []
    rows = [_row(answered.forecast_ns, plan_of(answered.response), whole[0], timed) for answered in log.plans]
    report = Report(bag.name, picture_note(log), grid, times_s, moments, surprise, latency, rows)
    written = [out / "report.html"]
    write_page(report, written[0])
    if pictures:
        written.append(out / FILM)
        save_gif(pictures, written[-1], FILM_RATE_HZ)
    if rrd is not None:
        _finish(rrd, log)
        written.append(out / RRD)
    return written


def _rrd(out: Path, first_ns: int, first: Moment, robot: Footprint | float) -> Recording | None:
    """None where rerun-sdk is not installed. Only who writes such a file pays for its import."""
    from jepa_ros.viz.rrd import Recording, is_installed

    image_px = (first.image_px[0], first.image_px[1]) if first.camera else None
    return Recording(out / RRD, first_ns, image_px, robot) if is_installed() else None


def _finish(rrd: Recording, log: OutputLog) -> None:
    """The curves and the answers of the planner, of all frames."""
    for name, values in (("surprise", log.surprise), ("latency_ms", log.latency_ms)):
        for stamp_ns, value in sorted(values.items()):
            if math.isfinite(value):
                rrd.curve(name, stamp_ns, value)
    for answered in log.plans:
        if answered.forecast_ns:
            rrd.say(answered.forecast_ns, answered.told, answered.status == "OK")
    rrd.close()


def _messages(out: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """(stamp, serialized message) of a topic of the recording."""
    return ((header_stamp_ns(raw.data), raw.data) for raw in read_raw(out / "output.mcap", [topic]))


def _filmed(stamps: list[int]) -> set[int]:
    """The stamps of the pictures, evenly in time."""
    chosen, due_ns = [], stamps[0]
    for stamp in stamps:
        if stamp >= due_ns:
            chosen.append(stamp)
            due_ns = stamp + round(0.95 * NANOSECONDS / FILM_RATE_HZ)
    return set(chosen[:MOST_PICTURES])


def _scenes(log: OutputLog, bag: Path, out: Path, wanted: set[int], timed: bool) -> Iterator[tuple[Observation, SceneState, Plan | None]]:
    """What was seen and said at the wanted stamps, and the newest plan made by then."""
    answered = sorted((plan for plan in log.plans if plan.forecast_ns), key=lambda plan: plan.forecast_ns)
    last_ns = max(wanted)
    log.occupancy |= {stamp: data for stamp, data in _messages(out, OCCUPANCY) if stamp in wanted}
    log.pedestrians |= {stamp: data for stamp, data in _messages(out, PEDESTRIANS) if stamp in wanted}
    log.objects |= {stamp: data for stamp, data in _messages(out, OBJECTS) if stamp in wanted}
    for observation in open_bag(bag):
        stamp = observation.stamp_ns
        if stamp > last_ns:
            return
        if stamp not in wanted:
            continue
        state = log.state(stamp)
        newest = next((plan for plan in reversed(answered) if plan.forecast_ns <= stamp), None)
        plan = plan_of(newest.response) if newest and stamp - newest.forecast_ns <= PLAN_HOLDS_NS else None
        yield observation, state if timed else replace(state, timings_ms={}), plan


def _row(stamp_ns: int, plan: Plan, first_ns: int, timed: bool) -> PlanRow:
    return PlanRow(
        t_s=_since(stamp_ns, first_ns) if stamp_ns else None,
        status=plan.status.name,
        message=plan.message,
        collision_probability=_finite(plan.collision_probability),
        distance_to_goal_m=_finite(plan.distance_to_goal_m),
        planning_ms=_finite(1e3 * plan.planning_time_s) if timed else None,
    )


def _since(stamp_ns: int, first_ns: int) -> float:
    return round((stamp_ns - first_ns) / NANOSECONDS, 3)


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
