"""`make bench-faults`: every fault in turn on running nodes, hostile files and requests, and a soak. Prints tables, then one JSON line.

python -m experiments.faults.report [--parts faults hostile soak] [--soak-minutes 60] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.common import processor
from experiments.faults.hostile import hostile_files, hostile_parameters, hostile_requests
from experiments.faults.judge import Result, judge, lateness_ms
from experiments.faults.operators import operator_faults
from experiments.faults.robot import MAX_AGE_S, Robot
from experiments.faults.scenarios import faults
from experiments.faults.soak import soak

PARTS = ("faults", "hostile", "soak")


def run_faults(robot: Robot, only: Iterable[str]) -> list[Result]:
    """Runs the chosen faults one after another; returns what came of each."""
    chosen = {name: fault for name, fault in (faults() | operator_faults()).items() if not only or any(word in name for word in only)}
    results: list[Result] = []
    for name, fault in tqdm(chosen.items(), desc="faults", unit="fault"):
        if results and not math.isfinite(results[-1].recovered_s):
            robot.restart()
        results.append(judge(robot, name, fault))
        tqdm.write(row(results[-1]))
        for status, message in sorted(results[-1].told.items()):
            tqdm.write(f"    {status}: {message[:200]}")
    return results


def row(result: Result) -> str:
    """One row of the report's table."""
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    died = ", ".join(result.died) or "nobody"
    return (
        f"| {result.name} | {'held' if result.held else '**failed**'} | {died} | {statuses} | {result.ok_on_old} | {result.late} | "
        f"{result.recovered_s:.1f} s | {result.said.replace('|', '/')[:160]} |"
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="make bench-faults", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["faults", "hostile"], help="default: %(default)s")
    parser.add_argument("--only", nargs="+", default=[], help="faults whose name holds one of these words")
    parser.add_argument("--soak-minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="sensor frames a second (default: %(default)s)")
    parser.add_argument(
        "--max-age", type=float, default=MAX_AGE_S, help="of what is planned on, s; more on a busy machine (default: %(default)s)"
    )
    parser.add_argument("--model", default="", help="of world_model (default: its own)")
    arguments = parser.parse_args(argv)
    found: dict[str, Any] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if "hostile" in arguments.parts:
            files = hostile_files(Path(folder)) + hostile_parameters(Path(folder))
            found["hostile_files"] = [vars(one) for one in files]
            failed += [one.name for one in files if not one.held]
        with Robot(Path(folder), arguments.rate, shuttle=True, max_age_s=arguments.max_age, model=arguments.model) as robot:
            robot.wait_until_well()
            if "faults" in arguments.parts:
                print("| fault | verdict | died | plan requests | OK on old data | later than 10 ms | well again after | said |")
                print("|---|---|---|---|---|---|---|---|")
                results = run_faults(robot, arguments.only)
                failed += [one.name for one in results if not one.held]
                found["faults"] = [vars(one) | {"held": one.held} for one in results]
                found["late_ms"] = lateness_ms(robot)
            if "hostile" in arguments.parts:
                requests = hostile_requests(robot)
                found["hostile_requests"] = [vars(one) for one in requests]
                failed += [one.name for one in requests if not one.held]
            if "soak" in arguments.parts:
                found["soak"] = soak(robot, arguments.soak_minutes)
    for one in (*found.get("hostile_files", []), *found.get("hostile_requests", [])):
        print(f"| {one['name']} | {'held' if one['held'] else '**failed**'} | {one['said'][:200]} |")
    print(f"failed: {', '.join(failed) or 'none'}; late beyond the deadline, ms: {found.get('late_ms')}")
    print(json.dumps({"bench": "faults", "failed": failed, "machine": processor(), **found}))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
