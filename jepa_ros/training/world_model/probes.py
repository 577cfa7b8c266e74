"""`probe`: fit the occupancy head anew on a frozen world model, on observed and on predicted latents alike.

A head that only knows observed latents fails on imagined ones; half of its examples are therefore predictions.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe
from jepa_ros.config import load as load_config
from jepa_ros.training.losses import occupancy_loss
from jepa_ros.training.world_model.loop import TrainingConfig, schedule, window_spec
from jepa_ros.training.world_model.pretraining_loss import forward
from jepa_ros.training.world_model.shard import open_shards
from jepa_ros.training.world_model.windows import Windows, collate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file of TrainingConfig fields; steps, batch, targets, seed are used"
    )
    parser.add_argument("--data", required=True, help="dataset written by `prepare`")
    parser.add_argument("--weights", type=Path, required=True, help="weights whose encoder and predictor stay as they are")
    parser.add_argument("--out", type=Path, required=True, help="where to write the weights with the new head")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    config = dataclasses.replace(load_config(TrainingConfig, args.config), data=args.data)
    model = load("cpu", args.weights)
    loss = fit_probe(model, config)
    save(model, args.out, f"{model.spec.version}-probe", {"probe_steps": config.steps, "probe_loss": loss, "data": args.data})
    print(f"{args.out}: occupancy loss {loss:.4f}")


def fit_probe(model: SceneJepa, config: TrainingConfig) -> float:
    """Replace the model's occupancy head by one trained from the start; returns the mean loss of the last tenth of the steps."""
    torch.manual_seed(config.seed)
    model.requires_grad_(False)
    model.occupancy_probe = OccupancyProbe(model.config.grounded, model.config.probe)
    optimizer = torch.optim.AdamW(model.occupancy_probe.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    windows = Windows(open_shards(Path(config.data), config.part), window_spec(config), config.seed, config.batch)
    loader = DataLoader(windows, config.batch, sampler=range(config.steps * config.batch), num_workers=config.workers, collate_fn=collate)
    recent: list[float] = []
    for step, batch in enumerate(tqdm(loader, desc="probe", unit="step", mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config)
        with torch.no_grad():
            out = forward(model, batch)
        read = torch.cat([out.now_BDYX[:, None], out.predicted_BSDYX], dim=1)
        logits = model.occupancy_probe(read.flatten(0, 1)).unflatten(0, read.shape[:2])
        loss = occupancy_loss(logits, batch.occupied, batch.visible)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        recent.append(loss.item())
    tail = recent[-max(1, len(recent) // 10) :]
    return sum(tail) / len(tail)
