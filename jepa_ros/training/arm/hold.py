"""Teaches the head of an arm's model whether a grip holds, on imagined latents that no longer change.

A head must not learn from what a predictor says of the very episodes that it has learned by heart: it would trust it too far on new ones.

Axes: K grip, H latent of the grip, L step after the grip, M member, P token, D latent width, A action.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.arm.hold import HoldHead, Judge, Line, whole
from jepa_ros.backends.arm.network import ArmModel
from jepa_ros.training.arm.episodes import HELD, UNKNOWN, ArmEpisodes
from jepa_ros.training.arm.loop import encode_all, left_out

STEPS, BATCH = 1000, 256  # of the judges: longer, and they learn their grips by heart
CHECK_EVERY = 100
ROLL_BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.3
LINE_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the line; held-out grips choose
LINE_ROUNDS = 100
SMALLEST_SPREAD = 1e-3  # of a number that the line reads
CONTEXT = 2  # frames that imagination begins from: before the fingers closed, and after


@dataclass(frozen=True)
class Grips:
    """Grips whose outcome is known, all of the same length."""

    grip_KHPD: Tensor  # latents before the fingers closed and after
    observed_KLPD: Tensor
    imagined_MKLPD: Tensor
    actions_KLA: Tensor  # of the motion
    squeeze_K2: Tensor  # how far the fingers are closed, and were meant to
    outcome_KL: Tensor  # 1 held, 0 lost, -1 unknown
    index_K: Tensor  # number of the episode

    def __len__(self) -> int:
        return len(self.grip_KHPD)


@torch.no_grad()
def grips_of(model: ArmModel, episodes: ArmEpisodes, learned: bool = False) -> Grips:
    """Every stretch with a grip, imagined from the instant when the fingers have closed.

    learned: the predictors were trained on these episodes; each stretch is then imagined by the one that left it out (`left_out`).
    Raises ValueError where there is no grip, or where grips come too early or late in their stretch to be imagined.
    """
    chosen = np.flatnonzero(episodes.grip >= CONTEXT - 1)
    if not len(chosen):
        raise ValueError("there is no grip in these episodes: nothing to learn of holding")
    at = int(episodes.grip[chosen].min())
    chosen = chosen[(episodes.grip[chosen] == at) & (episodes.outcome[chosen, -1] != UNKNOWN)]
    steps = episodes.frames - 1 - at
    if not len(chosen) or steps < 1:
        raise ValueError(f"of {len(episodes)} stretches none has a grip whose outcome is known")
    part = episodes.part(chosen)
    latents = encode_all(model, part).float()
    first = at + 1 - CONTEXT
    actions, fingers = torch.from_numpy(part.actions), torch.from_numpy(part.fingers)
    seen, done, closed = latents[:, first : at + 1], actions[:, first:], fingers[:, first : at + 1]

    def imagine(member: int, which: Tensor) -> Tensor:
        return torch.cat([model.roll(seen[some], done[some], closed[some], member) for some in which.split(ROLL_BATCH)])

    members, everyone = range(model.config.members), torch.arange(len(chosen))
    if learned and len(members) > 1:
        unseen_by = torch.from_numpy(left_out(len(episodes), len(members))[chosen])  # in blocks, one member after the other
        imagined = torch.cat([imagine(member, everyone[unseen_by == member]) for member in unseen_by.unique().tolist()])[None]
    else:
        imagined = torch.stack([imagine(member, everyone) for member in members])
    return Grips(
        seen, latents[:, at + 1 :], imagined, actions[:, at:], fingers[:, at],
        torch.from_numpy(part.outcome[:, at + 1 :].astype(np.int64)), torch.from_numpy(chosen),
    )  # fmt: skip


def fit_hold(model: ArmModel, train: Grips, validation: Grips, seed: int = 0) -> float:
    """Trains and calibrates `model.hold` in place; returns the validation loss (nats) of what it says of imagined latents."""
    head, best, best_loss = model.hold, None, float("inf")
    head.fit_axes(train.imagined_MKLPD[0], *_seen(train))
    head.scale.copy_(torch.tensor([1.0, 0.0]))  # the judges by themselves, until both are calibrated
    head.shift.zero_()
    torch.manual_seed(seed)
    for _ in _trained(head, train):
        loss = _loss(head, validation)
        if loss < best_loss:  # few grips are soon known by heart
            best, best_loss = {key: value.clone() for key, value in head.state_dict().items()}, loss
    assert best is not None
    head.load_state_dict(best)
    _fit_line(head.line, train, validation)
    _calibrate(head, validation)
    head.eval().requires_grad_(False)
    return _loss(head, validation)


@torch.no_grad()
def hold_probability(model: ArmModel, grips: Grips) -> tuple[Tensor, Tensor]:
    """(K, L) mean and (K, L) spread over the members of P(held up to this step)."""
    probability_MKL = _logits(model.hold, grips.imagined_MKLPD, grips).sigmoid()
    return probability_MKL.mean(0), probability_MKL.std(0, unbiased=False)


def _seen(grips: Grips) -> tuple[Tensor, Tensor, Tensor]:
    """What the head sees beside the steps' latents."""
    return grips.grip_KHPD, grips.actions_KLA, grips.squeeze_K2


def _trained(head: HoldHead, grips: Grips) -> Iterator[None]:
    """Stops at every CHECK_EVERY steps, ready to be judged."""
    head.train().requires_grad_(True)
    with torch.no_grad():
        read = [head.read(latents, *_seen(grips)) for latents in grips.imagined_MKLPD]
    grip, steps = read[0][0], torch.stack([one[1] for one in read])
    known, held = grips.outcome_KL != UNKNOWN, (grips.outcome_KL == HELD).float()
    optimizer = torch.optim.AdamW(head.judges.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def loss_of(judge: Judge) -> Tensor:
        chosen, member = torch.randint(len(grips), (min(BATCH, len(grips)),)), int(torch.randint(len(steps), ()))
        told = judge(grip[chosen], steps[member, chosen])
        return F.binary_cross_entropy_with_logits(told, held[chosen], weight=known[chosen].float())

    for step in range(1, STEPS + 1):
        loss = torch.stack([loss_of(head.judge(which)) for which in range(len(head.judges))]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % CHECK_EVERY == 0:
            head.eval()
            yield
            head.train()


def _fit_line(line: Line, train: Grips, validation: Grips) -> None:
    """Logistic regression on standardised numbers, held back as much as validation grips ask for."""
    (grip, hardest), (other_grip, other_hardest) = (whole(*_seen(grips)) for grips in (train, validation))
    spread = [values.flatten(0, -2).std(0, unbiased=False) + SMALLEST_SPREAD for values in (grip, hardest)]
    line.grip_mean.copy_(grip.mean(0))
    line.motion_mean.copy_(hardest.flatten(0, 1).mean(0))
    x, motion = (grip - line.grip_mean) / spread[0], (hardest - line.motion_mean) / spread[1]
    known, held = train.outcome_KL != UNKNOWN, (train.outcome_KL == HELD).float()
    found = []
    for decay in LINE_DECAYS:
        weights = [torch.zeros(size, requires_grad=True) for size in (x.shape[-1], motion.shape[-1], 1)]
        optimizer = torch.optim.LBFGS(weights, max_iter=LINE_ROUNDS, line_search_fn="strong_wolfe")

        def closure(weights: list[Tensor] = weights, optimizer: torch.optim.LBFGS = optimizer, decay: float = decay) -> Tensor:
            optimizer.zero_grad()
            logits = (x @ weights[0])[:, None] + motion @ weights[1] + weights[2]
            held_back = 0.5 * decay * (weights[0].square().sum() + weights[1].square().sum())
            loss = F.binary_cross_entropy_with_logits(logits[known], held[known]) + held_back
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            line.grip_weight.copy_(weights[0] / spread[0])
            line.motion_weight.copy_(weights[1] / spread[1])
            line.bias.copy_(weights[2][0])
            loss = float(_cross_entropy(line(other_grip, other_hardest), validation.outcome_KL))
        found.append((loss, {key: value.clone() for key, value in line.state_dict().items()}))
    line.load_state_dict(min(found, key=lambda one: one[0])[1])


@torch.no_grad()
def _logits(head: HoldHead, latents_MKLPD: Tensor, grips: Grips) -> Tensor:
    """(M, K, L)."""
    return torch.stack([head(latents, *_seen(grips)) for latents in latents_MKLPD])


def _loss(head: HoldHead, grips: Grips) -> float:
    return float(_cross_entropy(_logits(head, grips.imagined_MKLPD, grips), grips.outcome_KL))


def _cross_entropy(logits: Tensor, outcome_KL: Tensor) -> Tensor:
    """Mean over the steps whose outcome is known, in nats; logits (..., K, L)."""
    outcome = outcome_KL.expand_as(logits)
    known = outcome != UNKNOWN
    return F.binary_cross_entropy_with_logits(logits[known], (outcome[known] == HELD).float())


def _calibrate(head: HoldHead, grips: Grips) -> None:
    """How much the judges and the line count, and a shift, on grips that were not learned from (Platt's scaling of two logits)."""
    with torch.no_grad():
        judged = _logits(head, grips.imagined_MKLPD, grips)
        lined = head.line(*whole(*_seen(grips)))
    start = float(np.log(0.5))
    numbers = torch.tensor([start, start, 0.0], requires_grad=True)  # logarithms of the scales, which turn nothing round; shift
    optimizer = torch.optim.LBFGS([numbers], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = numbers[0].exp() * judged + numbers[1].exp() * lined + numbers[2]
        loss = _cross_entropy(logits, grips.outcome_KL) + 1e-3 * (numbers[:2] - start).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    head.scale.copy_(numbers[:2].detach().exp())
    head.shift.copy_(numbers[2].detach())


def without_imagination(grips: Grips) -> Grips:
    """The same grips for a head that sees the latent of now, the squeeze and the motion, but nothing imagined: the baseline."""
    now_KLPD = grips.grip_KHPD[:, -1:].expand_as(grips.observed_KLPD)
    return replace(grips, observed_KLPD=now_KLPD, imagined_MKLPD=now_KLPD[None])


def observed(grips: Grips) -> Grips:
    """The same grips for a head that sees what came of the motion."""
    return replace(grips, imagined_MKLPD=grips.observed_KLPD[None])
