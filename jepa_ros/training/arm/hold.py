"""Teaches the head of an arm's model whether a grip holds, on latents that no longer change: observed ones and imagined ones.

Axes: K grip, L step after the grip, M member, P token, D latent width, A action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.arm.network import ArmModel, HoldHead, motion_features
from jepa_ros.training.arm.episodes import HELD, UNKNOWN, ArmEpisodes
from jepa_ros.training.arm.loop import encode_all

EPOCHS, LEAST_STEPS = 8, 400
BATCH = 256
ROLL_BATCH = 64
WEIGHT_DECAYS = (0.03, 0.3, 1.0)  # the one of the least validation loss is taken
CONTEXT = 2  # frames that imagination begins from: before the fingers closed, and after


@dataclass(frozen=True)
class Grips:
    """Grips whose outcome is known, all of the same length."""

    gripped_KPD: Tensor  # latent of the closed grip
    observed_KLPD: Tensor
    imagined_MKLPD: Tensor
    actions_KLA: Tensor  # of the motion
    squeeze_K2: Tensor  # how far the fingers are closed, and were meant to
    outcome_KL: Tensor  # 1 held, 0 lost, -1 unknown
    index_K: Tensor  # number of the episode

    def __len__(self) -> int:
        return len(self.gripped_KPD)


@torch.no_grad()
def grips_of(model: ArmModel, episodes: ArmEpisodes, context: int = CONTEXT) -> Grips:
    """Every stretch with a grip, imagined from the instant when the fingers have closed. Raises ValueError where there is none, or where
    grips come too early or late in their stretch to be imagined."""
    chosen = np.flatnonzero(episodes.grip >= context - 1)
    if not len(chosen):
        raise ValueError("there is no grip in these episodes: nothing to learn of holding")
    at = int(episodes.grip[chosen].min())
    chosen = chosen[(episodes.grip[chosen] == at) & (episodes.outcome[chosen, -1] != UNKNOWN)]
    steps = episodes.frames - 1 - at
    if not len(chosen) or steps < 1:
        raise ValueError(f"of {len(episodes)} stretches none has a grip whose outcome is known")
    part = episodes.part(chosen)
    latents = encode_all(model, part).float()
    first = at + 1 - context
    actions, fingers = torch.from_numpy(part.actions), torch.from_numpy(part.fingers)
    rows = [(latents[part, first : at + 1], actions[part, first:], fingers[part, first : at + 1]) for part in _parts(len(chosen))]
    members = range(model.config.members)
    imagined = torch.stack([torch.cat([model.roll(seen, done, closed, member) for seen, done, closed in rows]) for member in members])
    return Grips(
        latents[:, at], latents[:, at + 1 :], imagined, actions[:, at:], fingers[:, at],
        torch.from_numpy(part.outcome[:, at + 1 :].astype(np.int64)), torch.from_numpy(chosen),
    )  # fmt: skip


def _parts(count: int) -> list[slice]:
    return [slice(begin, begin + ROLL_BATCH) for begin in range(0, count, ROLL_BATCH)]


def fit_hold(model: ArmModel, train: Grips, validation: Grips, seed: int = 0) -> float:
    """Trains and calibrates `model.hold` in place; returns the validation loss (nats) of what it says of imagined latents."""
    head, best, best_loss = model.hold, None, float("inf")
    start = {key: value.clone() for key, value in head.state_dict().items()}
    x, y = _examples(train)
    for weight_decay in WEIGHT_DECAYS:
        head.load_state_dict(start)
        torch.manual_seed(seed)
        _train(head, x, y, weight_decay)
        loss = _loss(head, validation)
        if loss < best_loss:
            best, best_loss = {key: value.clone() for key, value in head.state_dict().items()}, loss
    assert best is not None
    head.load_state_dict(best)
    _calibrate(head, validation)
    head.eval().requires_grad_(False)
    return _loss(head, validation)


@torch.no_grad()
def hold_probability(model: ArmModel, grips: Grips, observed: bool = False) -> tuple[Tensor, Tensor]:
    """(K, L) mean and (K, L) spread over the members of P(held up to this step); observed: of the latents that came."""
    logits = _logits(model.hold, grips.observed_KLPD[None] if observed else grips.imagined_MKLPD, grips)
    probability_MKL = logits.sigmoid().cummin(dim=2).values
    return probability_MKL.mean(0), probability_MKL.std(0, unbiased=False)


def _examples(grips: Grips) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """What the head sees, and outcomes, one row for each step, member and the observation."""
    stacked = torch.cat([grips.observed_KLPD[None], grips.imagined_MKLPD]).half()
    gripped = grips.gripped_KPD.half()[None, :, None].expand_as(stacked)
    motion = motion_features(grips.actions_KLA, grips.squeeze_K2)
    outcome = grips.outcome_KL[None].expand(stacked.shape[:3])
    known = outcome != UNKNOWN
    return (stacked[known], gripped[known], motion.expand(len(stacked), -1, -1, -1)[known]), (outcome[known] == HELD).float()


def _train(head: HoldHead, x: tuple[Tensor, Tensor, Tensor], y: Tensor, weight_decay: float) -> None:
    head.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=weight_decay)
    steps = max(LEAST_STEPS, EPOCHS * -(-len(y) // BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(y), (min(BATCH, len(y)),))
        loss = F.binary_cross_entropy_with_logits(head(*(part[chosen].float() for part in x)), y[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()


@torch.no_grad()
def _logits(head: HoldHead, latents_MKLPD: Tensor, grips: Grips) -> Tensor:
    """(M, K, L)."""
    gripped = grips.gripped_KPD[None, :, None].expand_as(latents_MKLPD)
    motion = motion_features(grips.actions_KLA, grips.squeeze_K2).expand(len(latents_MKLPD), -1, -1, -1)
    return head(latents_MKLPD.flatten(0, 2), gripped.flatten(0, 2), motion.flatten(0, 2)).unflatten(0, latents_MKLPD.shape[:3])


def _loss(head: HoldHead, grips: Grips) -> float:
    logits = _logits(head, grips.imagined_MKLPD, grips)
    outcome = grips.outcome_KL[None].expand_as(logits)
    known = outcome != UNKNOWN
    return float(F.binary_cross_entropy_with_logits(logits[known], (outcome[known] == HELD).float()))


def _calibrate(head: HoldHead, grips: Grips) -> None:
    """Platt's scale and shift of the logits, on grips that were not learned from."""
    logits = _logits(head, grips.imagined_MKLPD, grips)
    outcome = grips.outcome_KL[None].expand_as(logits)
    x, y = logits[outcome != UNKNOWN], (outcome[outcome != UNKNOWN] == HELD).float()
    numbers = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(numbers[0] * x + numbers[1], y) + 1e-3 * (numbers[0] - 1).square()
        loss.backward()
        return loss

    optimizer.step(closure)
    head.scale.copy_(numbers[0].detach())
    head.shift.copy_(numbers[1].detach())


def without_imagination(grips: Grips) -> Grips:
    """The same grips for a head that sees the latent of now, the squeeze and the motion, but nothing imagined: the baseline."""
    now_KLPD = grips.gripped_KPD[:, None].expand_as(grips.observed_KLPD)
    return replace(grips, observed_KLPD=now_KLPD, imagined_MKLPD=now_KLPD[None])
