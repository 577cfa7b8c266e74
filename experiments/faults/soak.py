"""A long run: does anything grow, and is the end as fast as the beginning?"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.faults.robot import Asked, Robot

SAMPLE_S = 10.0
SETTLE_S = 300.0  # what grows until then is being warmed up
WATCHED = ("world_model", "planner")
MEMORY = {"resident_mb": "VmRSS", "own_mb": "RssAnon", "files_mb": "RssFile", "shared_mb": "RssShmem"}  # -> names in /proc/PID/status
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
REASONS = 12  # the most frequent ones are told


@dataclass(frozen=True)
class Sample:
    """What a process holds."""

    at_s: float
    resident_mb: float  # own + files + shared
    own_mb: float  # heap and stacks: nobody else's
    files_mb: float  # libraries and weights, as far as they have been read
    shared_mb: float  # segments of DDS, the other processes' too
    threads: int
    handles: int


def sample(pid: int, at_s: float) -> Sample:
    """Memory in MB, threads and open files of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    memory = {field: int(status[name].split()[0]) / 1024 for field, name in MEMORY.items()}
    return Sample(at_s, **memory, threads=int(status["Threads"]), handles=len(os.listdir(f"/proc/{pid}/fd")))


def reasons(asked: list[Asked]) -> dict[str, int]:
    """Why plans were refused: status and message with the figures taken out -> how often, the most frequent first."""
    found = Counter(f"{one.status}: {NUMBER.sub('#', one.message)[:120]}" for one in asked if one.status != "OK")
    return dict(found.most_common(REASONS))


def soak(robot: Robot, minutes: float) -> dict[str, Any]:
    """Samples of both nodes over `minutes`, told as the first and the last tenth of what follows the settling."""
    begun_s = time.monotonic()
    samples: dict[str, list[Sample]] = {name: [] for name in WATCHED}
    load: list[float] = []
    for _ in tqdm(range(round(60 * minutes / SAMPLE_S)), desc="soak", unit="sample"):
        time.sleep(SAMPLE_S)
        load.append(os.getloadavg()[0])
        for name in WATCHED:
            samples[name].append(sample(robot.processes[name].pid, time.monotonic() - begun_s))
    found: dict[str, Any] = {"minutes": minutes, "load": [round(float(one), 1) for one in np.percentile(load, (0, 50, 100))]}
    for name, all_of_it in samples.items():
        settled = [one for one in all_of_it if one.at_s > min(SETTLE_S, 30 * minutes)]
        tenth = max(1, len(settled) // 10)
        for what in (*MEMORY, "threads", "handles"):
            first, last = (float(np.median([getattr(one, what) for one in part])) for part in (settled[:tenth], settled[-tenth:]))
            found[f"{name}.{what}"] = [round(first, 1), round(last, 1), f"{last / first - 1:+.2%}" if first else ""]
        found[f"{name}.own_mb by 5 minutes"] = [
            round(float(np.median([one.own_mb for one in all_of_it[at : at + 30]])), 1) for at in range(0, len(all_of_it), 30)
        ]
    asked = [one for one in robot.since(begun_s) if np.isfinite(one.took_s)]
    tenth = max(1, len(asked) // 10)
    found["plan_ms"] = [round(1e3 * float(np.median([one.took_s for one in part])), 1) for part in (asked[:tenth], asked[-tenth:])]
    found["asked"] = len(robot.since(begun_s))
    found["ok_share"] = round(float(np.mean([one.status == "OK" for one in asked])), 3)
    found["refused"] = reasons(robot.since(begun_s))
    return found
