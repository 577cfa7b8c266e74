"""`camera`: teach scene_jepa weights to read images column by column, so that without a lidar it knows what stands in view.

The lidar of the same instant is the teacher, in all that the camera looks at: where the lidar has no return none is to be read, behind
things too. Were only the cells judged that the lidar sees, all behind a wall could be called wall for nothing. All other weights stay:
with a lidar, latents are what they were, bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.camera import CameraColumns
from jepa_ros.backends.scene_jepa.config import BODY, FIRST_BAND
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.backends.scene_jepa.projection import cell_columns
from jepa_ros.sensing.voxelize import pillars
from jepa_ros.training.metrics import OccupancyScore
from jepa_ros.training.world_model.shard import Shard, open_shards

BATCH = 8
LEARNING_RATE = 2e-3
WARM_UP = 50  # steps
VALIDATION = 7  # every so manieth bag, by name
JUDGED_EVERY = 5  # frames of those


@dataclass(frozen=True)
class Sample:
    """One image, and what the lidar saw at that instant."""

    image_CHW: Tensor  # RGB, 0-1
    places_YX3: Tensor  # from `cell_columns`
    returns_ZYX: Tensor  # 1 where a height band holds one
    seen_YX: Tensor  # 1 where the camera looks

    def mirrored(self) -> Sample:
        """Left and right change places."""
        places_YX3 = self.places_YX3.flip(0) * torch.tensor([-1.0, 1.0, 1.0])
        return Sample(self.image_CHW.flip(-1), places_YX3, self.returns_ZYX.flip(1), self.seen_YX.flip(0))

    def in_another_light(self, rng: np.random.Generator) -> Sample:
        """Brighter or darker, with more contrast or less, and other shares of red, green and blue."""
        gain = torch.as_tensor(rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, (3, 1, 1)), dtype=torch.float32)
        return dataclasses.replace(self, image_CHW=(self.image_CHW * gain + float(rng.uniform(-0.1, 0.1))).clamp(0, 1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--data", type=Path, required=True, help="folder written by `prepare`, of bags with a lidar and cameras")
    parser.add_argument("--weights", type=Path, help="scene_jepa weights; default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    parser.add_argument("--version", default="", help="of the weights written; default: that of the old ones with +camera")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps of 8 images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    base = load("cpu", args.weights)
    shards = [shard for shard in open_shards(args.data) if shard.cameras]
    held_out = shards[::VALIDATION]
    learned_from = [shard for shard in shards if shard not in held_out]
    if not learned_from:
        raise ValueError(f"{args.data} holds {len(shards)} prepared bags with a camera; at least 2 are needed, the first for validation")
    torch.manual_seed(args.seed)
    model = with_columns(base)
    assert model.encoder.columns is not None
    fit(model.encoder.columns, learned_from, args.steps, np.random.default_rng(args.seed))
    about = {
        "camera_bags": len(learned_from),
        "camera_steps": args.steps,
        "camera_ap_of_returns_in_view": round(judge(model.encoder.columns, held_out), 3),
    }
    save(model, args.out, args.version or f"{base.spec.version}+camera", about)
    print(f"{args.out}: {about}")


def with_columns(base: SceneJepa) -> SceneJepa:
    """The same weights, and untrained ones for reading images by columns."""
    model = SceneJepa(dataclasses.replace(base.config, columns=True), base.spec.version)
    known = base.state_dict()
    model.load_state_dict({name: known.get(name, tensor) for name, tensor in model.state_dict().items()})
    return model.eval().requires_grad_(False)


def fit(columns: CameraColumns, shards: list[Shard], steps: int, rng: np.random.Generator) -> None:
    """Likelihood of the returns in what the camera looks at."""
    columns.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(columns.parameters(), lr=LEARNING_RATE, weight_decay=0.05, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / steps)))
    )
    frames = np.cumsum([len(shard) for shard in shards])
    progress = tqdm(range(steps), desc="fit", unit="step")
    for _ in progress:
        loss = _loss(columns, [_drawn(shards, frames, rng) for _ in range(BATCH)])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(columns.parameters(), 1.0)
        optimiser.step()
        rate.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    columns.eval().requires_grad_(False)


@torch.inference_mode()
def judge(columns: CameraColumns, shards: list[Shard]) -> float:
    """Average precision of what the lidar finds occupied now, over the cells that the camera looks at."""
    score = OccupancyScore()
    for shard in tqdm(shards, desc="judge", unit="bag"):
        for number in range(0, len(shard), JUDGED_EVERY):
            sample = sample_of(shard, number, 0)
            if sample is None:
                continue
            logits, _ = columns(sample.image_CHW[None, None], sample.places_YX3[None, None])
            likely_YX = logits[0, BODY].amax(dim=0).sigmoid()
            score.add(likely_YX, sample.returns_ZYX[BODY].amax(dim=0), sample.seen_YX)
    return score.average_precision()


def sample_of(shard: Shard, number: int, camera: int) -> Sample | None:
    """A frame of a prepared bag; None where this camera gave no image or the lidar no sweep."""
    frame = shard[number]
    if not (np.isfinite(frame.camera_from_anchor[camera]).all() and len(frame.points_m)):
        return None
    places = cell_columns(BEV_GRID, frame.ground_height_m, frame.camera_from_anchor[camera], shard.cameras[camera])
    return Sample(
        image_CHW=torch.from_numpy(frame.images[camera].transpose(2, 0, 1).astype(np.float32) / 255),
        places_YX3=torch.from_numpy(places),
        returns_ZYX=torch.from_numpy((pillars(frame.points_m, frame.ground_height_m, BEV_GRID)[FIRST_BAND:] > 0).astype(np.float32)),
        seen_YX=torch.from_numpy((np.abs(places[..., :2]) <= 1).all(axis=-1).astype(np.float32)),
    )


def _drawn(shards: list[Shard], frames: np.ndarray, rng: np.random.Generator) -> Sample:
    """Any frame, any of its cameras, as it is or mirrored, in some light."""
    while True:
        index = int(rng.integers(frames[-1]))
        bag = int(np.searchsorted(frames, index, side="right"))
        shard = shards[bag]
        sample = sample_of(shard, index - int(frames[bag]) + len(shard), int(rng.integers(len(shard.cameras))))
        if sample is not None:
            sample = sample.in_another_light(rng)
            return sample.mirrored() if rng.random() < 0.5 else sample


def _loss(columns: CameraColumns, samples: list[Sample]) -> Tensor:
    """Mean over the cells that are looked at, in nats for all height bands."""
    images, places, returns, seen = (torch.stack(parts) for parts in zip(*(dataclasses.astuple(s) for s in samples), strict=True))
    logits, _ = columns(images[:, None], places[:, None])
    nats = F.binary_cross_entropy_with_logits(logits, returns, reduction="none").sum(dim=1)
    loss: Tensor = (nats * seen).sum() / seen.sum().clamp(min=1)
    return loss
