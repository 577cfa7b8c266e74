"""Predictions of a wide model for training windows, computed once and stored, so that a narrow model can learn from them many times.

A stored batch holds the aligned past and the futures as the narrow model's frozen encoder sees them, what the wide model predicts,
and what the sweeps show.
Axes: B batch, T history step, S future step, D latent width, Y row, X column.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.world_model.pretraining_loss import moving_tokens, seen_tokens
from jepa_ros.training.world_model.windows import Window, Windows, collate


@dataclass(frozen=True)
class DistillationBatch:
    """One batch."""

    history_BTDYX: Tensor
    actions_BHA: Tensor
    steps_S: Tensor
    target_BSDYX: Tensor
    wide_BSDYX: Tensor  # predicted by the wide model
    weight_BSYX: Tensor  # of the tokens that the future sweep saw
    moving_BSYX: Tensor  # 1 where something has entered or left
    occupied_BSYX: Tensor  # now first, cells
    visible_BSYX: Tensor


HALF = ("history_BTDYX", "target_BSDYX", "wide_BSDYX")


def encoded(encoder: SceneEncoder, scene: SceneInput) -> Tensor:
    """(B, N, D, Y, X) latents of (B, N, ...) scenes."""
    batch, count = scene.pillars_BCYX.shape[:2]
    flat = SceneInput(*(getattr(scene, name).flatten(0, 1) for name in SceneInput.__dataclass_fields__))
    return encoder(flat).float().unflatten(0, (batch, count))


def aligned_history(model: SceneJepa, batch: Window) -> Tensor:
    """(B, T, D, Y, X) in the anchor frame of now."""
    latents = encoded(model.encoder, batch.history)
    size, past = len(latents), latents.shape[1] - 1
    older = model.align_map(latents[:, :-1].flatten(0, 1), batch.now_from_history[:, :-1].flatten(0, 1).numpy())
    return torch.cat([older.unflatten(0, (size, past)), latents[:, -1:]], dim=1)


@torch.no_grad()
def tell(wide: SceneJepa, narrow: SceneJepa, batch: Window) -> DistillationBatch:
    """Works out a batch."""
    history = aligned_history(narrow, batch)
    target = encoded(narrow.encoder, batch.targets)[:, -len(batch.steps) :]
    predicted = wide.predictor(aligned_history(wide, batch), batch.actions, batch.steps)
    return DistillationBatch(
        history,
        batch.actions,
        batch.steps,
        target,
        predicted.float(),
        seen_tokens(batch.visible[:, 1:]),
        moving_tokens(batch.occupied, batch.visible),
        batch.occupied,
        batch.visible,
    )


def write(path: Path, told: DistillationBatch) -> None:
    """Whole or not at all."""
    fields: dict[str, Any] = {field.name: getattr(told, field.name) for field in dataclasses.fields(DistillationBatch)}
    fields |= {name: fields[name].half() for name in HALF}
    partial = path.with_suffix(".partial")
    torch.save(fields, partial)
    os.replace(partial, path)


def read(path: Path) -> DistillationBatch:
    """As it was stored, except for rounding."""
    fields = torch.load(path, weights_only=True)
    return DistillationBatch(**{**fields, **{name: fields[name].float() for name in HALF}})


def batches(windows: Windows, begin: int, end: int) -> Iterator[Window]:
    """Training batches by number."""
    for number in range(begin, end):
        yield collate([windows[number * windows.batch + place] for place in range(windows.batch)])


class Stored(Dataset):
    """The batches of a folder, in an order that depends on seed and step alone."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.files, self._seed = sorted(folder.glob("*.pt")), seed
        if not self.files:
            raise ValueError(f"{folder} holds no stored batches")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, step: int) -> DistillationBatch:
        """The batch of this optimiser step: every file once a round."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step // len(self.files))
        return read(self.files[int(torch.randperm(len(self.files), generator=generator)[step % len(self.files)])])
