"""The demo's results: summary, picture and verdict."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.tools.output_log import OutputLog, summary_of
from jepa_ros.ros.tools.run_report import picture_note, run_report, surprise_note
from jepa_ros.sensing import open_bag
from jepa_ros.viz.scene import draw_scene


def write_summary(log: OutputLog, bag: Path, model: str, path: Path) -> dict[str, Any]:
    """summary.json, and its content."""
    summary = {"bag": bag.name, "model": model, **summary_of(log), "run": run_report(log), "complaints": log.complaints()}
    note = surprise_note(log)
    if note:
        summary["surprise_note"] = note
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def draw_picture(log: OutputLog, bag: Path, path: Path, timed: bool = True, robot: Footprint | float = 0.4) -> bool:
    """Draw the best moment over the sensor data of the same stamp, read again from the bag; False where nothing came out.

    timed: show what each stage cost, which is another picture each time. robot: a number is the radius of a disc, m.
    """
    moment = log.best_moment()
    if moment is None:
        return False
    state, plan = moment
    if not timed:
        state = replace(state, timings_ms={})
        plan = replace(plan, planning_time_s=math.nan) if plan else None
    observation = next((seen for seen in open_bag(bag) if seen.stamp_ns == state.stamp_ns), None)
    if observation is None:
        return False
    draw_scene(observation, state, plan, path, robot, picture_note(log))
    return True


def failure(log: OutputLog, ahead_m: float) -> str | None:
    """Why the demo has shown nothing, in words that say what to do; None where it has."""
    if not log.frames_processed:
        said = "; ".join(log.complaints()) or "world_model.log says more"
        return f"no forecast came out of {log.frames_in} frames: {said}"
    if not log.plans:
        return "the planner gave no answer: planner.log says why"
    if any(plan.status == "OK" for plan in log.plans) or not log.has_occupancy:
        return None  # a model without occupancy can call no path safe, and says so (UNSUPPORTED)
    # Answers that differ in their figures only are one.
    kinds = Counter(re.sub(r"[\d.]+", "#", plan.told) for plan in log.plans)
    example = {re.sub(r"[\d.]+", "#", plan.told): plan.told for plan in log.plans}
    told = "\n".join(f"  {count} x such as {example[kind]}" for kind, count in kinds.most_common(3))
    stale = sum(plan.status == "STALE_SENSORS" for plan in log.plans) > len(log.plans) / 2
    hint = "Forecasts come too late to plan on: see how the demo ran, above" if stale else "Where the way is blocked: --goal-ahead 4"
    return (
        f"not one of {len(log.plans)} plans is OK. Asked, twice a second: a way to {ahead_m:g} m straight ahead, any heading. "
        f"Answered:\n{told}\n{hint}"
    )
