"""What each hand-set number of the planner is worth: `make bench-planner-constants`.

Moments are taken from drives through simulated crowds. At each moment the planner plans with one of its numbers at 0.7 and at 1.4 times
its value, all others as they are, and the simulation carries the whole plan out: the people in it react to the robot. The planner is told
where everybody is and how fast (with a tracker's noise), and expects constant velocity. Planning has all the time it wants, so that the
figures do not depend on the machine. Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.driving.methods import DT_S, PLANNING_S, TICK_S, fork, make_planner, true_scene
from experiments.driving.worlds import ROBOT_RADIUS_M, Episode, NoWay, make_world
from experiments.numbers import Number, changed, numbers_of
from jepa_ros.forecast import load_forecaster
from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.sim.people.social_force import RADIUS_M
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, LidarSweep, Observation, SceneState, Tracks

RULES = tuple(
    f"jepa_ros.planning.{name}"
    for name in ("guide", "start_contact", "objective", "outcome", "people", "planner", "safe_part", "solver", "surroundings", "verify")
)
# The robot's own measures, sizes of arrays, costs of what is not asked for here, and what plans made one after the other share.
NOT_ASKED = {
    *("DIAGONAL", "WORST", "AWAY_M", "MIN_DEADLINE_S", "FORGIVEN", "BELIEVED_AFTER_S", "DRAWS_AT_ONCE", "USUAL_SURPRISE"),
    *("robot_radius_m", "limits", "kinematics", "solver", "dt_s", "steps", "seed", "rehearsed", "goal_tolerance_rad"),
    *("goal_heading", "off_path", "reverse", "surprise"),
}
FACTORS = (0.7, 1.4)
PLACES = ("corridor", "hall", "doorway", "crossing")
FIRST_SEED = 50_000  # tuning seeds: those of the driving bench begin at 80000
EVERY_TICKS, DRIVEN_TICKS = 6, 48
NOISE_M, NOISE_MPS = 0.1, 0.15  # deviations of a tracked person's position and velocity

FAR_M = 2.0  # people further away than this are not in the way
STANDING_MPS, TOUCH_M = 0.05, 0.02  # as in the driving bench
SURE = 3.0  # standard errors: of some 400 comparisons one is so far off by chance
FIGURES = ("planned", "contacts", "gap m", "nearer m")  # shares, metres to the nearest person while driving, metres nearer to the goal

Results = list[list[float]]
Rows = dict[str, dict[str, Results]]


@dataclass(frozen=True)
class Moment:
    """One question to the planner."""

    scene: SceneState
    goal: FloatArray  # (3,) in odom, which is the world here
    simulation: Simulation  # at that moment; carried on in copies


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.driving.numbers", description=__doc__)
    parser.add_argument("--worlds", type=int, default=8, help="drives that moments are taken from (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=(), help="numbers whose names end so (default: all)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/planner_constants"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure(list(moments(arguments.worlds)), arguments.out / "rows.jsonl", tuple(arguments.only))
    text = table(rows)
    (arguments.out / "planner_constants.md").write_text(text)
    print(text)
    print(
        json.dumps(
            {
                "bench": "planner_constants",
                "numbers": len(rows) - 1,
                "matter": [name for name in rows if name != "as it is" and matters(rows, name)],
            }
        )
    )


def moments(worlds: int) -> Iterator[Moment]:
    """Every 1.2 s of `worlds` drives of 9.6 s with the planner as it is."""
    number = 0
    for seed in range(FIRST_SEED, FIRST_SEED + worlds):
        world = None
        while world is None:
            episode = Episode(PLACES[seed % len(PLACES)], "high", seed + 1000 * number)
            try:
                world = make_world(episode, None)
            except NoWay:
                number += 1
        rng, planner, goal = np.random.default_rng(seed), make_planner(), np.array([*world.goal_m, np.nan])
        for tick in range(DRIVEN_TICKS):
            scene = seen(world.simulation, tick, rng)
            if tick % EVERY_TICKS == 0:
                yield Moment(scene, goal, fork(world.simulation))
            plan = planner.plan(scene, goal, PLANNING_S)
            world.simulation.command(*(plan.commands[0] if len(plan.commands) else np.zeros(2)))
            world.simulation.advance(TICK_S)


def seen(simulation: Simulation, tick: int, rng: np.random.Generator) -> SceneState:
    """The scene of now: everybody tracked and expected to keep their velocity, cars where they are."""
    stamp_ns = NANOSECONDS + round(tick * TICK_S * NANOSECONDS)
    ego = EgoState(stamp_ns, simulation.world_from_base(), np.array([simulation.ego.speed_mps, 0.0]))
    no_sweep = LidarSweep(stamp_ns, np.zeros((0, 3), np.float32), None, None, None, np.eye(4))
    scene = true_scene(simulation, Observation(stamp_ns, ego, no_sweep), np.zeros((0, 2)))
    people = scene.people
    positions = people.positions_m + rng.normal(0.0, NOISE_M, people.positions_m.shape)
    velocities = people.velocities_mps + rng.normal(0.0, NOISE_MPS, people.velocities_mps.shape)
    tracks = Tracks(np.stack((positions - DT_S * velocities, positions), axis=1), np.ones((len(positions), 2), bool), DT_S)
    forecast = load_forecaster("constant_velocity").predict(tracks)
    steps = len(forecast.times_s) + 1
    occupancy = replace(
        scene.occupancy, probability=np.repeat(scene.occupancy.probability[:1], steps, axis=0), times_s=DT_S * np.arange(steps)
    )
    tracked = replace(people, positions_m=positions, velocities_mps=velocities, history=tracks)
    return replace(scene, people=tracked, pedestrians=forecast, occupancy=occupancy)


def measure(questions: list[Moment], kept: Path, only: tuple[str, ...] = ()) -> Rows:
    """Label -> factor -> what came of each question; the row "as it is" first. only: numbers of these names; empty = all."""
    rows: Rows = {row.pop("label"): row for row in map(json.loads, kept.read_text().splitlines() if kept.exists() else ())}
    with kept.open("a") as file:
        numbers = [number for number in planner_numbers() if not only or number.label.endswith(only)]
        for number in tqdm([None, *numbers], unit="number"):
            label = number.label if number else "as it is"
            if label in rows:
                continue
            if number is None:
                rows[label] = {"1": results(questions, PlannerConfig())}
            else:
                rows[label] = {"value": [[float(number.value)]]}
                for factor in FACTORS:
                    rows[label][str(factor)] = results_with(questions, number, number.times(factor))
            file.write(json.dumps({"label": label, **rows[label]}) + "\n")
            file.flush()
    return rows


def planner_numbers() -> list[Number]:
    """Those at the top of the planner's modules, then the defaults of its configuration."""
    constants = [number for number in numbers_of(RULES) if number.name not in NOT_ASKED]
    return constants + list(defaults_of(PlannerConfig()))


def defaults_of(config: Any, prefix: str = "") -> Iterator[Number]:
    """Every number of a configuration, those of its parts among them."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in NOT_ASKED:
            continue
        if is_dataclass(value):
            yield from defaults_of(value, f"{prefix}{field.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield Number("jepa_ros.planning.PlannerConfig", prefix + field.name, value)


def results_with(questions: list[Moment], number: Number, value: float) -> Results:
    """`results` with one number changed."""
    if not number.module.endswith("PlannerConfig"):
        with changed(number, value):
            return results(questions, PlannerConfig())
    config = PlannerConfig()
    *part, name = number.name.split(".")
    changes: dict[str, Any] = {name: value}
    if part:
        changes = {part[0]: replace(getattr(config, part[0]), **changes)}
    return results(questions, replace(config, **changes))


def results(questions: list[Moment], config: PlannerConfig) -> Results:
    """What comes of each question, in the order of FIGURES."""
    made = make_planner().config
    own = replace(config, robot_radius_m=made.robot_radius_m, dt_s=made.dt_s, steps=made.steps)
    return [carried_out(moment, Planner(own)) for moment in questions]


def carried_out(moment: Moment, planner: Planner) -> list[float]:
    """One plan, driven to its end."""
    plan = planner.plan(moment.scene, moment.goal, PLANNING_S)
    simulation = fork(moment.simulation)
    before_m = float(np.linalg.norm(simulation.ego.pose[:2] - moment.goal[:2]))
    contact, nearest_m = 0.0, FAR_M
    for command in plan.commands:
        simulation.command(*command)
        simulation.advance(TICK_S)
        people = simulation.crowd.positions_m[simulation.crowd.present]
        gap_m = np.linalg.norm(people - simulation.ego.pose[:2], axis=1).min(initial=np.inf) - ROBOT_RADIUS_M - RADIUS_M
        if abs(simulation.ego.speed_mps) > STANDING_MPS:
            nearest_m = min(nearest_m, float(gap_m))
            contact = max(contact, float(gap_m < TOUCH_M or simulation.blocked_by is not None))
    after_m = float(np.linalg.norm(simulation.ego.pose[:2] - moment.goal[:2]))
    return [float(len(plan.commands) > 0 and not plan.fallback), contact, nearest_m, before_m - after_m]


def differences(rows: Rows, label: str, factor: float) -> tuple[FloatArray, FloatArray]:
    """(4,) mean change of each figure, and its standard error over the paired questions."""
    change = np.array(rows[label][str(factor)]) - np.array(rows["as it is"]["1"])
    return change.mean(axis=0), change.std(axis=0, ddof=1) / np.sqrt(len(change))


def matters(rows: Rows, label: str) -> bool:
    """Whether any figure changes by more than SURE standard errors at either value."""
    return any((np.abs(mean) > SURE * error + 1e-9).any() for mean, error in (differences(rows, label, factor) for factor in FACTORS))


def table(rows: Rows) -> str:
    """Markdown, in the order of the source; in bold what matters."""
    base = np.array(rows["as it is"]["1"])
    told = ", ".join(f"{name} {value:.3f}" for name, value in zip(FIGURES, base.mean(axis=0), strict=True))
    lines = [
        f"As it is, {len(base)} plans: {told}. Below: the change of these at 0.7 and at 1.4 times the value, and its standard error.",
        "",
        f"| number | value | x 0.7: {', '.join(FIGURES)} | x 1.4 |",
        "|---|---|---|---|",
    ]
    for label, row in rows.items():
        if label == "as it is":
            continue
        bold = "**" if matters(rows, label) else ""
        cells = [", ".join(f"{m:+.3f} ({e:.3f})" for m, e in zip(*differences(rows, label, f), strict=True)) for f in FACTORS]
        lines.append(f"| {bold}`{label}`{bold} | {row['value'][0][0]:g} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
