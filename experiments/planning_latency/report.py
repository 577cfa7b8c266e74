"""How long planning takes, and how good plans are at equal time: python -m experiments.planning_latency.report

A forecast of 12 steps on 128 x 128 cells with 20 people of 20 modes each; every plan of a series starts anew. Times are of the wall.
Quality is what a plan costs more than the best plan that any solver found for the same question at any deadline.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import torch

from experiments.common import COMPARED, processor
from jepa_ros.backends import load_world_model
from jepa_ros.planning import CostWeights, Limits, Planner, PlannerConfig, SolverConfig
from jepa_ros.planning.example_scene import crowd_scene
from jepa_ros.planning.imagined.motions import imagine
from jepa_ros.planning.kinematics import Unicycle
from jepa_ros.planning.people import people_future
from jepa_ros.types import PlanStatus

ANY_TIME_S = 10.0
SCENES = 10
DEADLINES_S = (0.010, 0.020, 0.050, 0.100)


@dataclass(frozen=True)
class Row:
    """One measured configuration."""

    name: str
    solver: str
    samples: int
    iterations: int
    deadline_s: float = ANY_TIME_S


ROWS = (
    Row("MPPI, 2,000 samples once", "mppi", 2000, 1),
    Row("MPPI, as shipped", "mppi", SolverConfig().samples, SolverConfig().iterations),
    Row("CEM, as shipped", "cem", SolverConfig().samples, SolverConfig().iterations),
    Row("iCEM, as shipped", "icem", SolverConfig().samples, SolverConfig().iterations),
    Row("MPPI, 2,000 samples, deadline 20 ms", "mppi", 2000, 100, 0.020),
    Row("MPPI, 2,000 samples, deadline 50 ms", "mppi", 2000, 100, 0.050),
    Row("MPPI, 2,000 samples, deadline 200 ms", "mppi", 2000, 100, 0.200),
)


def measure(row: Row, people: int, repeats: int) -> dict[str, float | str]:
    """Milliseconds per plan (p50, p99), the share of plans that are OK, and how late the latest came."""
    search = SolverConfig(samples=row.samples, iterations=row.iterations)
    planner = Planner(PlannerConfig(search=search), COMPARED[row.solver](search))
    scenes = [crowd_scene(people, seed=seed) for seed in range(SCENES)]
    goal = np.array([6.0, 2.0, np.nan])
    for scene in scenes[:3]:
        planner.plan(scene, goal, ANY_TIME_S)
    elapsed_s, fine = [], 0
    for repeat in range(repeats):
        planner.reset()
        started_s = time.perf_counter()
        plan = planner.plan(scenes[repeat % SCENES], goal, row.deadline_s)
        elapsed_s.append(time.perf_counter() - started_s)
        fine += plan.status is PlanStatus.OK
    p50_ms, p99_ms = (1e3 * np.percentile(elapsed_s, (50, 99))).tolist()
    late_ms = 1e3 * (max(elapsed_s) - row.deadline_s)
    return {"name": row.name, "p50_ms": p50_ms, "p99_ms": p99_ms, "ok_share": fine / repeats, "latest_after_deadline_ms": max(late_ms, 0.0)}


def quality(deadlines_s: tuple[float, ...], people: int, scenes: int) -> list[dict[str, float | str]]:
    """For each solver and deadline the mean and median regret over the scenes that gave a plan to the goal, and their share."""
    goals = np.random.default_rng(0).uniform((4.0, -np.pi), (9.0, np.pi), (scenes, 2))
    cost = np.full((len(COMPARED), len(deadlines_s), scenes), np.nan)
    for row, solver in enumerate(COMPARED):
        search = SolverConfig(iterations=100)
        planner = Planner(PlannerConfig(search=search), COMPARED[solver](search))
        for index, (radius_m, bearing_rad) in enumerate(goals):
            scene = crowd_scene(people, seed=100 + index)
            goal = np.array([radius_m * np.cos(bearing_rad), radius_m * np.sin(bearing_rad), np.nan])
            for column, deadline_s in enumerate((ANY_TIME_S / 50, *deadlines_s)):  # the first warms up
                planner.reset()
                plan = planner.plan(scene, goal, deadline_s)
                if column and plan.status is PlanStatus.OK:
                    cost[row, column - 1, index] = plan.cost
    answered = np.isfinite(cost)
    regret = cost - np.where(answered, cost, np.inf).min(axis=(0, 1))
    return [
        {
            "solver": solver,
            "deadline_s": deadline_s,
            "mean": float(regret[row, column][answered[row, column]].mean()) if answered[row, column].any() else float("nan"),
            "median": float(np.nanmedian(regret[row, column])) if answered[row, column].any() else float("nan"),
            "ok_share": float(answered[row, column].mean()),
        }
        for row, solver in enumerate(COMPARED)
        for column, deadline_s in enumerate(deadlines_s)
    ]


def imagining(model: str, candidates: int, people: int, repeats: int) -> dict[str, float | str]:
    """`imagine` of motions of 12 steps, wall and processor time, ms."""
    world_model = load_world_model(model, device="cpu")
    generator = torch.Generator().manual_seed(0)
    spec = world_model.spec
    history_TND = torch.randn(spec.history, *spec.latent_shape, generator=generator)
    commands_SLU = torch.rand(candidates, 1, 2, generator=generator).expand(-1, spec.horizon, -1)
    poses_SL3 = Unicycle(Limits(), spec.dt_s).rollout(torch.tensor([0.0, 0.0, 0.0, 1.0]), commands_SLU).states_SLX[..., :3].contiguous()
    future = people_future(crowd_scene(people), 0.4)
    elapsed_s = []
    for _ in range(repeats + 1):
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        imagine(world_model, history_TND, poses_SL3, future, 0.4, CostWeights(), (5.0, 0.0, 0.0))
        elapsed_s.append((time.perf_counter() - started_s, time.process_time() - started_cpu_s))
    wall_ms, processor_ms = (1e3 * np.median(elapsed_s[1:], axis=0)).tolist()
    return {"model": model, "candidates": candidates, "wall_ms": wall_ms, "processor_ms": processor_ms}


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.planning_latency.report", description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=30, help="for the quality of plans (default: %(default)s)")
    parser.add_argument("--model", default="scene_jepa", help="that imagines (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    results = [measure(row, arguments.people, arguments.repeats) for row in ROWS]
    print(f"{'24 steps, ' + str(arguments.people) + ' people':<40} {'p50 ms':>8} {'p99 ms':>8} {'OK':>6} {'late ms':>8}")
    for result in results:
        print(
            f"{result['name']:<40} {result['p50_ms']:>8.1f} {result['p99_ms']:>8.1f} {result['ok_share']:>6.0%}"
            f" {result['latest_after_deadline_ms']:>8.1f}"
        )
    imagined = imagining(arguments.model, 64, arguments.people, 10)
    print(f"{'imagine, 64 candidates x 12 steps':<40} {imagined['wall_ms']:>8.1f} (of one core: {imagined['processor_ms']:.1f})")
    found = quality(DEADLINES_S, arguments.people, arguments.scenes)
    print("\nplan cost above the best known, mean (median), share of scenes with a plan")
    print(f"{'':<8}" + "".join(f"{1e3 * deadline_s:>20.0f} ms" for deadline_s in DEADLINES_S))
    for solver in COMPARED:
        cells = [f"{row['mean']:.3f} ({row['median']:.3f}) {row['ok_share']:.0%}" for row in found if row["solver"] == solver]
        print(f"{solver:<8}" + "".join(f"{cell:>23}" for cell in cells))
    about = {"people": arguments.people, "repeats": arguments.repeats, "threads": arguments.threads, "machine": processor()}
    print(
        json.dumps(
            {"bench": "planning_latency", **about, "torch": torch.__version__, "rows": results, "imagine": imagined, "quality": found}
        )
    )


if __name__ == "__main__":
    main()
