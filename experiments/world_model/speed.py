"""How long one step of scene_jepa takes, and how much memory: python -m experiments.world_model.speed [--threads N]

A process of its own, so that its peak memory is that of the model alone. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.threads import keep_freed_memory
from jepa_ros.types import CameraImage, CameraModel, EgoState, LidarSweep, Observation

WARM_UP = 5


def typical_observation() -> Observation:
    """A 32-ring sweep of 28,800 points and one 400 x 225 image."""
    rng = np.random.default_rng(0)
    azimuth, range_m = rng.uniform(-np.pi, np.pi, 28_800), rng.uniform(3, 50, 28_800)
    points = np.stack([range_m * np.cos(azimuth), range_m * np.sin(azimuth), rng.uniform(-0.2, 3, 28_800)], axis=1)
    camera = CameraModel(400, 225, np.array([[230.0, 0, 199.5], [0, 230.0, 112], [0, 0, 1]]), np.empty(0))
    base_from_camera = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    image = CameraImage(0, "camera", rng.integers(0, 255, (225, 400, 3), np.uint8), camera, base_from_camera)
    sweep = LidarSweep(0, points.astype(np.float32), None, None, None, np.eye(4))
    return Observation(0, EgoState(0, np.eye(4), np.zeros(2)), sweep, (image,))


def step_times_ms(model: SceneJepa, repeats: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, np.ndarray]:
    """Time of each stage of each step, and their sum: encode, align 4 latents, predict 12 steps, occupancy of 13 latents.

    clock: time.perf_counter = as the wall sees it; time.process_time = as the CPU spends it, which a busy machine changes less.
    """
    observation = typical_observation()
    pose = np.eye(4)
    pose[:2, 3] = 0.3, 0.1
    poses = np.stack([pose] * model.spec.history)
    actions = torch.zeros(1, model.spec.horizon, 3)
    marks = []
    for _ in range(repeats + WARM_UP):
        start = clock()
        latent = model.encode(observation)
        encoded = clock()
        history = model.align(latent.expand(model.spec.history, -1, -1), poses)[None]
        aligned = clock()
        predicted = model.predict(history, actions)
        after_predict = clock()
        model.occupancy(latent), model.occupancy(predicted[0])
        marks.append((start, encoded, aligned, after_predict, clock()))
    spent = 1e3 * np.diff(np.array(marks[WARM_UP:]), axis=1)
    return {**dict(zip(("encode", "align", "predict", "occupancy"), spent.T, strict=True)), "sum": spent.sum(axis=1)}


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=200, help="steps (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as the node does
    model = load("cpu", args.weights)
    times, cpu = step_times_ms(model, args.repeats), step_times_ms(model, args.repeats // 10 + 1, time.process_time)
    figures = {
        "threads": args.threads,
        "steps": args.repeats,
        "p50_ms": {name: round(float(np.median(values)), 1) for name, values in times.items()},
        "p99_ms": {name: round(float(np.percentile(values, 99)), 1) for name, values in times.items()},
        "cpu_p50_ms": round(float(np.median(cpu["sum"])), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
