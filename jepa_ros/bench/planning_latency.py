"""How long planning takes: python -m jepa_ros.bench.planning_latency

A forecast of 12 steps on 128 x 128 cells with 20 people of 20 modes each; every plan of a series starts anew. Times are of the wall.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass

import numpy as np
import torch

from jepa_ros.planning import Planner, PlannerConfig, SolverConfig
from jepa_ros.planning.crowd import crowd_scene
from jepa_ros.types import PlanStatus

ANY_TIME_S = 10.0
SCENES = 10


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
    Row("MPPI, 2,000 samples, deadline 20 ms", "mppi", 2000, 100, 0.020),
    Row("MPPI, 2,000 samples, deadline 50 ms", "mppi", 2000, 100, 0.050),
    Row("MPPI, 2,000 samples, deadline 200 ms", "mppi", 2000, 100, 0.200),
)


def measure(row: Row, people: int, repeats: int) -> dict[str, float | str]:
    """Milliseconds per plan (p50, p99), the share of plans that are OK, and how late the latest came."""
    config = PlannerConfig(solver=row.solver, search=SolverConfig(samples=row.samples, iterations=row.iterations))
    planner = Planner(config)
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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.bench.planning_latency", description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=100)
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
    about = {"people": arguments.people, "repeats": arguments.repeats, "threads": arguments.threads, "machine": platform.processor()}
    print(json.dumps({"bench": "planning_latency", **about, "torch": torch.__version__, "rows": results}))


if __name__ == "__main__":
    main()
