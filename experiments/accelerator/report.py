"""`make bench-gpu`: latency, training and planning on this machine (under five minutes with a GPU): a table, and JSON with the card's name.

Latency of a step by stage, with 1 and 6 cameras and 32 and 128 rings; training; a plan of 2,000 samples of 24 steps; V-JEPA 2-AC at the
size of its published ViT-g weights, which are random here: time does not depend on them. `--dry` runs all of it small, on any machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.accelerator.scenes import AZIMUTHS, observation
from jepa_ros.backends import resolve_device
from jepa_ros.backends.engine import ENGINES
from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.planning import Planner, PlannerConfig, SolverConfig
from jepa_ros.planning.example_scene import crowd_scene
from jepa_ros.training.world_model.loop import TrainingConfig, train_step
from jepa_ros.training.world_model.windows import Window

PEOPLE = 20


@dataclass(frozen=True)
class Size:
    """How much of everything is run."""

    frames: int
    rings: tuple[int, ...]
    cameras: tuple[int, ...]
    windows: int  # per training step
    steps: int
    plans: int
    candidates: int  # of V-JEPA 2-AC at once
    ac: PredictorConfig


WHOLE = Size(60, (32, 128), (1, 6), 16, 20, 50, 64, PredictorConfig())
DRY = Size(2, (8,), (1,), 1, 1, 1, 2, PredictorConfig(encoder_width=32, width=32, depth=1, heads=2, grid=4, max_steps=4))


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--engine", default="auto", choices=ENGINES)
    parser.add_argument("--dry", action="store_true", help="small, on any machine: does it run through?")
    parser.add_argument("--out", type=Path, help="JSON file to write besides printing it")
    arguments = parser.parse_args(argv)
    device, size = resolve_device(arguments.device), DRY if arguments.dry else WHOLE
    if device == "cpu" and not arguments.dry:
        print("no GPU answers here: this takes long on a CPU (--dry: a small run)")
    found: dict[str, Any] = {"bench": "accelerator", "device": name_of(device), "torch": torch.__version__, "dry": arguments.dry}
    found["step"] = [latency(device, arguments.engine, rings, cameras, size.frames) for rings in size.rings for cameras in size.cameras]
    found["training"] = training(device, size)
    found["plan"] = plan(size.plans, 2000 if not arguments.dry else 16)
    found["vjepa2_ac"] = action_conditioned(device, size)
    show(found)
    text = json.dumps(found)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return 0


def name_of(device: str) -> str:
    """The card, or the processor."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()


def latency(device: str, engine: str, rings: int, cameras: int, frames: int) -> dict[str, Any]:
    """Milliseconds of each stage of a step, p50 and p99, and of all."""
    pipeline = WorldModelPipeline.load(device=device, config=PipelineConfig(engine=engine))
    pipeline.warm_up()
    seen = [observation(step, rings * AZIMUTHS, cameras, PEOPLE) for step in range(min(frames, 20))]
    taken: dict[str, list[float]] = defaultdict(list)
    for step in range(frames):
        if step % len(seen) == 0:
            pipeline.reset()
        start = time.perf_counter()
        state = pipeline.step(seen[step % len(seen)])
        for stage, elapsed_ms in {**state.timings_ms, "all": 1e3 * (time.perf_counter() - start)}.items():
            taken[stage].append(elapsed_ms)
    stages = {stage: percentiles(values[min(5, len(values) - 1) :]) for stage, values in taken.items()}
    return {"rings": rings, "points": rings * AZIMUTHS, "cameras": cameras, "ms": stages}


def percentiles(values_ms: list[float]) -> dict[str, float]:
    """p50 and p99, to a hundredth."""
    return {f"p{q}": round(float(np.percentile(values_ms, q)), 2) for q in (50, 99)}


def training(device: str, size: Size) -> dict[str, float]:
    """Windows per second of pre-training, once they lie in memory."""
    config = TrainingConfig(data="none", batch=size.windows, device=device, bf16=True)
    model = SceneJepa(SceneJepaConfig()).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = made_up_window(size.windows, config)
    rate = per_second(lambda: train_step(model, optimizer, batch, 0, config, device), size.steps, device)
    return {"batch": size.windows, "windows_per_s": round(rate * size.windows, 2)}


def made_up_window(batch: int, config: TrainingConfig) -> Window:
    """Random values in the shapes of a batch of windows with a lidar and one camera."""
    history, targets, generator = config.model.history, config.targets, torch.Generator().manual_seed(0)

    def scene(steps: int) -> SceneInput:
        return SceneInput(
            torch.rand(batch, steps, config.model.pillar_channels, 128, 128, generator=generator),
            torch.ones(batch, steps),
            torch.rand(batch, steps, 1, 3, *IMAGE_SIZE, generator=generator),
            2 * torch.rand(batch, steps, 1, 3, 32, 32, 2, generator=generator) - 1,
            torch.zeros(batch, steps, 0, 128, 128, 3),
        )

    occupied = (torch.rand(batch, 1 + targets, 128, 128, generator=generator) < 0.1).to(torch.uint8)
    poses = torch.eye(4).expand(batch, history, 4, 4).contiguous()
    actions = torch.zeros(batch, config.model.horizon, 3)
    nothing = torch.zeros(0, 0)
    return Window(
        scene(history), poses, actions, torch.arange(targets), scene(targets), occupied, torch.ones_like(occupied), nothing, nothing[None]
    )


def per_second(run: Callable[[], object], repeats: int, device: str) -> float:
    """Runs per second after one to warm up."""
    run()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return repeats / (time.perf_counter() - start)


def plan(repeats: int, samples: int) -> dict[str, Any]:
    """Milliseconds of a plan: one iteration, through a crowd. Planning runs on the processor."""
    planner = Planner(PlannerConfig(search=SolverConfig(samples=samples, iterations=1)))
    scene, goal, taken = crowd_scene(PEOPLE), np.array([6.0, 2.0, np.nan]), []
    for _ in range(repeats + 1):
        planner.reset()
        start = time.perf_counter()
        planner.plan(scene, goal, 60.0)
        taken.append(1e3 * (time.perf_counter() - start))
    return {"samples": samples, "steps": PlannerConfig().steps, "ms": percentiles(taken[1:])}


@torch.inference_mode()
def action_conditioned(device: str, size: Size) -> dict[str, float]:
    """Futures per second, one step ahead, of many candidates at once."""
    sizes = size.ac
    kind = torch.bfloat16 if device.startswith("cuda") else torch.float32
    predictor = ActionConditionedPredictor(sizes).to(device, kind).eval()
    latents = torch.randn(size.candidates, 1, sizes.grid**2, sizes.encoder_width, device=device, dtype=kind)
    actions = torch.randn(size.candidates, 1, 7, device=device, dtype=kind)
    rate = per_second(lambda: predictor(latents, actions, actions), 1 if device == "cpu" else 10, device)
    return {"candidates": size.candidates, "futures_per_s": round(rate * size.candidates, 2)}


def show(found: dict[str, Any]) -> None:
    """The table."""
    print(f"\n{found['device']}, torch {found['torch']}")
    for row in found["step"]:
        stages = "  ".join(f"{stage} {ms['p50']:.1f}/{ms['p99']:.1f}" for stage, ms in row["ms"].items())
        print(f"step, {row['rings']:>3} rings, {row['cameras']} cameras, ms p50/p99:  {stages}")
    print(f"training: {found['training']['windows_per_s']} windows/s at {found['training']['batch']} a step")
    print(f"plan, {found['plan']['samples']} samples x {found['plan']['steps']} steps, ms: {found['plan']['ms']}")
    print(f"V-JEPA 2-AC: {found['vjepa2_ac']['futures_per_s']} futures/s, {found['vjepa2_ac']['candidates']} at once\n")


if __name__ == "__main__":
    raise SystemExit(main())
