"""Windows of the recordings, encoded once by the encoder that stays as it is, and stored."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.adapt.config import AdaptConfig
from jepa_ros.training.world_model import distillation_data
from jepa_ros.training.world_model.augment import Augmentation, draw_same_place
from jepa_ros.training.world_model.shard import Shard
from jepa_ros.training.world_model.windows import Windows, WindowSpec


def to_learn(model: SceneJepa, shards: list[Shard], config: AdaptConfig) -> Windows:
    """Windows drawn at random, with some steps each."""
    return Windows(shards, _spec(model, shards, config, config.targets), config.seed, config.batch, draw=draw_same_place)


def to_judge(model: SceneJepa, shards: list[Shard], config: AdaptConfig) -> Windows:
    """Windows as they were recorded, with all steps."""
    return Windows(shards, _spec(model, shards, config, model.spec.horizon), config.seed, 1, fixed=Augmentation())


def spread_out(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly."""
    return sorted({round(place * (count - 1) / max(1, most - 1)) for place in range(most)} if most < count else range(count))


def store(model: SceneJepa, windows: Windows, numbers: list[int], folder: Path, title: str) -> list[Path]:
    """Encodes batches by number, as far as `folder` does not hold them. Returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:06}.pt" for number in numbers]
    missing = [number for number, file in zip(numbers, files, strict=True) if not file.is_file()]
    for number in tqdm(missing, desc=title, total=len(files), initial=len(files) - len(missing), unit="batch", mininterval=1):
        (batch,) = distillation_data.batches(windows, number, number + 1)
        with torch.no_grad(), model.fast():
            distillation_data.write(folder / f"{number:06}.pt", distillation_data.tell(model, model, batch))
    return files


def _spec(model: SceneJepa, shards: list[Shard], config: AdaptConfig, targets: int) -> WindowSpec:
    cameras = max(len(shard.cameras) for shard in shards)
    spec = model.spec
    return WindowSpec(spec.history, spec.horizon, spec.dt_s, min(targets, spec.horizon), cameras, config.sensors, baselines=False)
