"""A synthetic world for timing action-conditioned planning, and predictors that have learned it.

Published weights cannot be had everywhere, and a predictor of random weights will not do: its energies differ only in the last digits of
float32, so that two implementations choose different elites by rounding alone. Here a hand moves a pattern over a grid of patches.

Axes: B batch, P patch, D width, 7 state or action.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from jepa_ros.backends.checkpoints import load_strictly
from jepa_ros.backends.vjepa2_ac.poses import advance
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.backends.vjepa2_ac.rollout import normalised

BATCH, TRAIN_STEPS = 8, 300
RATE = 1e-3 * math.sqrt(192)  # over the square root of the width


class PatternWorld:
    """Latents of a hand and what it holds, at (x, y) in 0-1, nearer with z, apart with the gripper."""

    def __init__(self, sizes: PredictorConfig) -> None:
        generator = torch.Generator().manual_seed(0)
        axis = torch.linspace(0.0, 1.0, sizes.grid)
        self._place_P2 = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)
        self._pattern_3D = torch.randn(3, sizes.encoder_width, generator=generator)
        self._background_PD = 0.7 * torch.randn(sizes.grid**2, sizes.encoder_width, generator=generator)

    def see(self, states_B7: Tensor) -> Tensor:
        """(B, P, D) normalised."""
        at_B12, depth_B11, grip_B = states_B7[:, None, :2], states_B7[:, 2, None, None], states_B7[:, 6]
        held_BP = self._bump(at_B12, 0.12 + 0.1 * depth_B11[..., 0])
        beside_B12 = at_B12 + torch.stack([torch.zeros_like(grip_B), 0.06 + 0.1 * grip_B], dim=1)[:, None]
        hand_BP = self._bump(beside_B12, torch.tensor(0.1))
        held, hand, near = self._pattern_3D
        return normalised(self._background_PD + 2.5 * held_BP[..., None] * held + 2.0 * hand_BP[..., None] * hand + depth_B11 * near)

    def _bump(self, at_B12: Tensor, radius: Tensor) -> Tensor:
        return torch.exp(-(self._place_P2 - at_B12).square().sum(-1) / (2.0 * radius.square()))


def draw_states(count: int, generator: torch.Generator) -> Tensor:
    """(B, 7) away from the edges."""
    free = torch.rand(count, 4, generator=generator)
    return torch.cat([0.2 + 0.6 * free[:, :3], torch.zeros(count, 3), free[:, 3:]], dim=1)


def draw_actions(count: int, generator: torch.Generator) -> Tensor:
    """(B, 7) within the limits of the published search."""
    free = 2.0 * torch.rand(count, 4, generator=generator) - 1.0
    return torch.cat([0.05 * free[:, :3], torch.zeros(count, 3), 0.75 * free[:, 3:]], dim=1)


def trained_predictor(sizes: PredictorConfig, cache: Path) -> ActionConditionedPredictor:
    """A predictor that knows `PatternWorld`; read from `cache` where one of these sizes is there, else trained and kept there."""
    path = cache / ("_".join(str(value) for value in asdict(sizes).values()) + ".safetensors")
    predictor = ActionConditionedPredictor(sizes)
    if path.is_file():
        load_strictly(predictor, load_file(path), str(path))
        return predictor.eval()
    _train(predictor, sizes)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(predictor.state_dict(), path)
    return predictor.eval()


def _train(predictor: ActionConditionedPredictor, sizes: PredictorConfig) -> None:
    world, generator = PatternWorld(sizes), torch.Generator().manual_seed(1)
    for name, weight in predictor.named_parameters():
        if weight.ndim == 2:
            nn.init.trunc_normal_(weight, std=0.02, generator=generator)
        elif "norm" not in name:
            nn.init.zeros_(weight)
    optimiser = torch.optim.AdamW(predictor.parameters(), weight_decay=0.01)
    with tqdm(range(TRAIN_STEPS), desc=f"training a predictor of width {sizes.width}") as bar:
        for step in bar:
            for group in optimiser.param_groups:
                group["lr"] = RATE / math.sqrt(sizes.width) * min(1.0, (step + 1) / 30) * (1.0 - step / TRAIN_STEPS)
            states_B7, actions_B7 = draw_states(BATCH, generator), draw_actions(BATCH, generator)
            now_BPD, next_BPD = world.see(states_B7), world.see(advance(states_B7, actions_B7))
            predicted_BPD = normalised(predictor(now_BPD[:, None], actions_B7[:, None], states_B7[:, None])[:, 0])
            loss = (predicted_BPD - next_BPD).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
            optimiser.step()
            bar.set_postfix_str(
                f"error {float(loss.detach()):.3f}, nothing moves {float((now_BPD - next_BPD).abs().mean()):.3f}", refresh=False
            )
