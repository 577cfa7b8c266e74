"""`pretrain`: the training loop. What a step does depends on the seed and its number alone, so a resumed run repeats an unbroken one."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from jepa_ros.backends import resolve_device
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder
from jepa_ros.backends.scene_jepa.model import SceneJepa, save
from jepa_ros.config import load, param, validate
from jepa_ros.training import checkpoint as checkpoints
from jepa_ros.training import parallel
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, total_loss
from jepa_ros.training.world_model.shard import open_shards
from jepa_ros.training.world_model.windows import Window, Windows, WindowSpec, collate

Log = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """A training run."""

    data: str = param("", "folder written by `prepare`")
    out: str = param("runs/scene_jepa", "folder for checkpoint, weights and logs")
    steps: int = param(20000, "optimiser steps", at_least=1)
    batch: int = param(4, "windows per step", at_least=1)
    targets: int = param(3, "future steps per window that are encoded and predicted", at_least=1)
    cameras: int = param(1, "images per frame", at_least=0)
    sensors: tuple[float, float, float] = param((0.4, 0.3, 0.3), "shares of the batches that see lidar alone, both, camera alone")
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.01, "AdamW weight decay", at_least=0.0)
    warmup: int = param(200, "steps to the peak learning rate", at_least=1)
    clip: float = param(1.0, "largest gradient norm", at_least=0.0)
    part: tuple[float, float] = param((0.0, 1.0), "share of each bag that is learned from, such as [0, 0.5] for the first half")
    seed: int = param(0, "of everything random", at_least=0)
    device: str = param("auto", "auto, cpu or cuda")
    bf16: bool = param(False, "compute in bfloat16 where it is safe")
    workers: int = param(1, "processes that build windows", at_least=0)
    checkpoint_every: int = param(500, "steps between checkpoints", at_least=1)
    model: SceneJepaConfig = field(default_factory=SceneJepaConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        validate(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file of TrainingConfig fields, see config/training.yaml")
    parser.add_argument("--data", help="prepared dataset, instead of the file's")
    parser.add_argument("--out", help="output folder, instead of the file's")
    parser.add_argument("--init", type=Path, help="weights to start from, for fine-tuning")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    config = load(TrainingConfig, args.config)
    config = dataclasses.replace(config, **{key: getattr(args, key) for key in ("data", "out") if getattr(args, key)})
    pretrain(config, init=args.init)


def pretrain(config: TrainingConfig, init: Path | None = None, log: Log | None = None, model: SceneJepa | None = None) -> SceneJepa:
    """Train, going on from `out`/checkpoint.pt where there is one; leaves `out`/scene_jepa.safetensors. Returns the model.

    init: weights to start from; model: what to train in place of what `config` and `init` say.
    """
    rank, world = parallel.start()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    device = resolve_device(config.device)
    model = (model or build_model(config, init)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    teacher = copy.deepcopy(model.encoder).requires_grad_(False) if config.objective.targets == "ema" else None
    begin = _resume(out, model, optimizer, teacher)
    log = log or (_tensorboard(out) if rank == 0 else lambda step, scalars: None)
    batches = _batches(config, begin, rank, world)
    bar = tqdm(batches, total=config.steps, initial=begin, desc="pretrain", unit="step", mininterval=5, disable=rank > 0)
    started_s = time.monotonic()
    for step, batch in enumerate(bar, start=begin):
        scalars = train_step(model, optimizer, batch, step, config, device, teacher)
        log(step, {**scalars, "time/step_s": (time.monotonic() - started_s) / (step - begin + 1)})
        bar.set_postfix(p=f"{scalars['prediction_over_persistence']:.3f}", rank=f"{scalars['latent/effective_rank']:.1f}", refresh=False)
        if rank == 0 and ((step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps):
            average = teacher.state_dict() if teacher else None
            state = checkpoints.Checkpoint(step + 1, model.state_dict(), optimizer.state_dict(), dataclasses.asdict(config), average)
            checkpoints.write(out / "checkpoint.pt", state)
            save(model, out / "scene_jepa.safetensors", f"step-{step + 1}", {"steps": step + 1, "data": config.data, **scalars})
    return model


def build_model(config: TrainingConfig, init: Path | None = None) -> SceneJepa:
    """A new model from the seed, or the weights in `init`, made trainable."""
    if init is not None:
        from jepa_ros.backends.scene_jepa.model import load as load_weights

        return load_weights("cpu", init).requires_grad_(True).train()
    torch.manual_seed(config.seed)
    return SceneJepa(config.model)


def train_step(
    model: SceneJepa,
    optimizer: torch.optim.Optimizer,
    batch: Window,
    step: int,
    config: TrainingConfig,
    device: str,
    teacher: SceneEncoder | None = None,
) -> dict[str, float]:
    """One optimiser step; returns the scalars to log. teacher: encoder of the targets, which then follows the model's."""
    rate = config.learning_rate * schedule(step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=config.bf16):
        loss, scalars = total_loss(model, to_device(batch, device), config.objective, generator, teacher)
    if not torch.isfinite(loss):
        raise ValueError(f"the loss is {loss.item()} at step {step}; lower learning_rate (now {config.learning_rate}) and resume")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parallel.average_gradients(model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    if teacher is not None:
        for average, parameter in zip(teacher.parameters(), model.encoder.parameters(), strict=True):
            average.lerp_(parameter.detach(), 1 - config.objective.ema_decay)
    return {"loss/total": loss.item(), **scalars, "gradient_norm": float(norm), "learning_rate": rate}


def schedule(step: int, config: TrainingConfig) -> float:
    """Share of the peak learning rate."""
    return warmed_cosine(step, config.steps, config.warmup)


def warmed_cosine(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine down to 1 %."""
    progress = min(1.0, step / steps)
    return min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def to_device(batch: Window, device: str) -> Window:
    """A window with every tensor on `device`."""
    moved: dict[str, Any] = {name: getattr(batch, name).to(device) for name in Window.__dataclass_fields__}
    return Window(**moved)


def window_spec(config: TrainingConfig) -> WindowSpec:
    """The windows that this training draws."""
    model = config.model
    return WindowSpec(model.history, model.horizon, model.dt_s, config.targets, config.cameras, config.sensors)


def _batches(config: TrainingConfig, begin: int, rank: int, world: int) -> DataLoader:
    windows = Windows(open_shards(Path(config.data), config.part), window_spec(config), config.seed, config.batch)
    mine = (range(batch * config.batch, (batch + 1) * config.batch) for batch in range(begin * world + rank, config.steps * world, world))
    numbers = [number for batch in mine for number in batch]
    return DataLoader(windows, config.batch, sampler=numbers, num_workers=config.workers, collate_fn=collate)


def _resume(out: Path, model: SceneJepa, optimizer: torch.optim.Optimizer, teacher: SceneEncoder | None) -> int:
    path = out / "checkpoint.pt"
    if not path.is_file():
        return 0
    state = checkpoints.read(path)
    model.load_state_dict(state.model)
    optimizer.load_state_dict(state.optimizer)
    if teacher is not None:
        if state.teacher is None:
            raise ValueError(f"{path} is of a training without moving average; set objective.targets: online, or choose another folder")
        teacher.load_state_dict(state.teacher)
    return state.step


def _tensorboard(out: Path) -> Log:
    """Scalars to TensorBoard where it is installed, and to `scalars.csv` always."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        writer = None
    else:
        writer = SummaryWriter(str(out / "tensorboard"))

    def log(step: int, scalars: dict[str, float]) -> None:
        with (out / "scalars.csv").open("a") as file:
            file.writelines(f"{step},{name},{value:.6g}\n" for name, value in scalars.items())
        if writer is not None:
            for name, value in scalars.items():
                writer.add_scalar(name, value, step)

    return log
