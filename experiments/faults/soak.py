"""A long run: does anything grow, and is the end as fast as the beginning?"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.faults.robot import Robot

SAMPLE_S = 10.0
SETTLE_S = 300.0  # what grows until then is being warmed up
WATCHED = ("world_model", "planner")


@dataclass(frozen=True)
class Sample:
    """What a process holds."""

    at_s: float
    resident_mb: float
    threads: int
    handles: int


def sample(pid: int, at_s: float) -> Sample:
    """Memory in MB, threads and open files of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return Sample(at_s, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))


def soak(robot: Robot, minutes: float) -> dict[str, Any]:
    """Samples of both nodes over `minutes`, told as the first and the last tenth of what follows the settling."""
    begun_s = time.monotonic()
    samples: dict[str, list[Sample]] = {name: [] for name in WATCHED}
    for _ in tqdm(range(round(60 * minutes / SAMPLE_S)), desc="soak", unit="sample"):
        time.sleep(SAMPLE_S)
        for name in WATCHED:
            samples[name].append(sample(robot.processes[name].pid, time.monotonic() - begun_s))
    found: dict[str, Any] = {"minutes": minutes}
    for name, all_of_it in samples.items():
        settled = [one for one in all_of_it if one.at_s > min(SETTLE_S, 30 * minutes)]
        tenth = max(1, len(settled) // 10)
        for what in ("resident_mb", "threads", "handles"):
            first, last = (float(np.median([getattr(one, what) for one in part])) for part in (settled[:tenth], settled[-tenth:]))
            found[f"{name}.{what}"] = [round(first, 1), round(last, 1), f"{last / first - 1:+.2%}"]
    asked = [one for one in robot.since(begun_s) if np.isfinite(one.took_s)]
    tenth = max(1, len(asked) // 10)
    found["plan_ms"] = [round(1e3 * float(np.median([one.took_s for one in part])), 1) for part in (asked[:tenth], asked[-tenth:])]
    found["ok_share"] = round(float(np.mean([one.status == "OK" for one in asked])), 3)
    return found
