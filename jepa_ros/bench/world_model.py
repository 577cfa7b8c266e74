"""What scene_jepa foresees, and how fast: python -m jepa_ros.bench.world_model [--bags BAG ...]

Worlds simulated from seeds that no training used, then the second half of each recording that is named. Every figure stands beside its
baselines on the same windows: persistence of the newest sweep, and the mean of the last four sweeps, both warped by ego motion.
Prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.training.dataset import prepare
from jepa_ros.training.evaluate import Evaluation, evaluate
from jepa_ros.training.shard import open_shards
from jepa_ros.types import CameraImage, CameraModel, EgoState, LidarSweep, Observation

FIRST_SEED = 20_000  # training uses seeds below 10,000, validation those from there on
REPEATS = 20


def simulated_bags(folder: Path, count: int) -> list[Path]:
    """Write `count` bags of 20 s, the scenarios in turn; none where MuJoCo is not installed."""
    try:
        from jepa_ros.sim.bag import BagSpec, write_bag
        from jepa_ros.sim.worlds import SCENARIOS
    except ModuleNotFoundError as error:
        print(f"simulated worlds: skipped, {error.name} is not installed (pip install 'jepa_ros[sim]')")
        return []
    names = list(SCENARIOS)
    specs = [BagSpec(seed=FIRST_SEED + k, scenario=names[k % len(names)], rate_hz=2.5, camera_size=(256, 96)) for k in range(count)]
    return [write_bag(folder / f"{spec.scenario}_{spec.seed}", spec) for spec in specs]


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


def latency_ms(model: SceneJepa, repeats: int = REPEATS, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Median time of each stage of one step, and their sum: encode, align 4 latents, predict 12 steps, occupancy of 13 latents.

    clock: time.perf_counter = as the wall sees it; time.process_time = as the CPU spends it, which a busy machine changes less.
    """
    observation = typical_observation()
    pose = np.eye(4)
    pose[:2, 3] = 0.3, 0.1
    poses = np.stack([pose] * model.spec.history)
    actions = torch.zeros(1, model.spec.horizon, 3)
    times: dict[str, list[float]] = {"encode": [], "align": [], "predict": [], "occupancy": []}
    for _ in range(repeats + 2):
        start = clock()
        latent = model.encode(observation)
        encoded = clock()
        history = model.align(latent.expand(model.spec.history, -1, -1), poses)[None]
        aligned = clock()
        predicted = model.predict(history, actions)
        foreseen = clock()
        model.occupancy(torch.cat([latent, predicted[0]]))
        read = clock()
        for name, seconds in zip(times, np.diff([start, encoded, aligned, foreseen, read]), strict=True):
            times[name].append(1e3 * float(seconds))
    medians = {name: round(float(np.median(values[2:])), 1) for name, values in times.items()}  # the first two warm up
    return {**medians, "sum": round(sum(medians.values()), 1)}


def summary(result: Evaluation) -> dict[str, Any]:
    """The figures that the README quotes: at 0.4, 1.2, 2.4 and 4.8 s."""
    quoted = [k for k, time_s in enumerate(result.times_s) if time_s in (0.4, 1.2, 2.4, 4.8)]
    occupancy = {
        method: {metric: {f"{result.times_s[k]}s": round(values[k + 1], 3) for k in quoted} for metric, values in metrics.items()}
        for method, metrics in result.occupancy.items()
    }
    ratio = {f"{result.times_s[k]}s": round(result.latent_error[k] / max(result.latent_error_persistence[k], 1e-9), 3) for k in quoted}
    rank = round(result.latent_spread.effective_rank, 1)
    return {"windows": result.windows, "latent_error_over_persistence": ratio, "occupancy": occupancy, "effective_rank": rank}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, nargs="*", default=[], help="recordings; the second half of each is used")
    parser.add_argument("--simulated", type=int, default=4, help="simulated worlds")
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--sensors", choices=("both", "lidar", "camera"), default="both", help="what the model may see")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which on a cell counts as occupied in the IoU")
    parser.add_argument("--every", type=int, default=5, help="take every n-th window")
    args = parser.parse_args()
    model = load("cpu", args.weights)
    report: dict[str, Any] = {"bench": "world_model", "version": model.spec.version, "sensors": args.sensors, "host": platform.machine()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = {"simulated": (simulated_bags(root / "bags", args.simulated), (0.0, 1.0))}
        sources |= {f"{bag.parent.name}/{bag.name}": ([bag], (0.5, 1.0)) for bag in args.bags}
        for number, (name, (bags, part)) in enumerate(sources.items()):
            if not bags:
                print(f"{name}: skipped")
                continue
            prepare(bags, root / str(number))
            try:
                result = evaluate(model, open_shards(root / str(number), part), args.sensors, args.every, args.threshold)
            except ValueError as error:
                print(f"{name}: skipped, {error}")
                continue
            print(f"\n{name}\n{result.table()}")
            report[name] = summary(result)
    if not args.bags:
        print("recordings: skipped, none given (--bags)")
    report["threads"] = torch.get_num_threads()
    report["latency_ms"], report["cpu_ms"] = latency_ms(model), latency_ms(model, clock=time.process_time)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
