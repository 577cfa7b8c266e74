"""Will this grip hold if I lift like that? Read off imagined latents, beside probes that imagine nothing.

Axes: K case (a grip with a motion), L step, C feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.carry.probes import Cases, auroc, best_probe
from jepa_ros.backends.arm.hold import motion_features, scaled, squeeze_features
from jepa_ros.backends.arm.network import ArmModel
from jepa_ros.training.arm.episodes import HELD, ArmEpisodes
from jepa_ros.training.arm.hold import Grips, fit_hold, hold_probability, observed, without_imagination
from jepa_ros.types import FloatArray

IMAGINED, ALONE = "imagined latents and the motion", "imagined latents alone"
BINS = 5  # of the probability, each with as many cases
RESAMPLES = 2000
PIXELS = 4  # the image is averaged over so many along each side for the probe on pixels


@dataclass(frozen=True)
class Told:
    """P(hold to the end of the motion) of every test case, by each way of telling."""

    by: dict[str, FloatArray]  # name -> (K,)
    steps_KL: FloatArray  # of the imagined latents, up to each step
    held_KL: NDArray[np.bool_]
    grip: NDArray[np.int64]  # (K,) number of the grip: several motions share it

    @property
    def held(self) -> NDArray[np.bool_]:
        """(K,) to the end."""
        return self.held_KL[:, -1]

    def interval(self, name: str, beside: str | None = None) -> tuple[float, float]:
        """95 % percentile bootstrap of an AUROC, or of how far it is above another's; whole grips are drawn, with all their motions."""
        rng = np.random.default_rng(0)
        names, first = np.unique(self.grip, return_inverse=True)
        members = [np.flatnonzero(first == k) for k in range(len(names))]
        found = []
        for _ in range(RESAMPLES):
            drawn = np.concatenate([members[k] for k in rng.integers(len(names), size=len(names))])
            score = auroc(self.by[name][drawn], self.held[drawn])
            found.append(score - (auroc(self.by[beside][drawn], self.held[drawn]) if beside else 0.0))
        low, high = np.nanpercentile(found, [2.5, 97.5])
        return float(low), float(high)

    def reliability(self) -> list[tuple[float, float, int]]:
        """(mean P, share that held, cases) of the imagined latents' probability at every step, in bins of equal size."""
        probability, held = self.steps_KL.reshape(-1), self.held_KL.reshape(-1)
        return [
            (float(probability[part].mean()), float(held[part].mean()), len(part)) for part in np.array_split(probability.argsort(), BINS)
        ]


def tell(model: ArmModel, train: Grips, validation: Grips, test: Grips, images: dict[str, Tensor], grips: NDArray[np.int64]) -> Told:
    """images: (K, C) pixels of now of each set; grips: (E,) the number of each test episode's grip."""
    sets = {"train": train, "validation": validation, "test": test}
    cases = {part: features_of(one, images[part]) for part, one in sets.items()}
    ends = {part: (one.outcome_KL[:, -1] == HELD).numpy() for part, one in sets.items()}
    mean_KL, _ = hold_probability(model, test)
    by = {IMAGINED: _end(mean_KL)}
    others = {
        ALONE: without_motion,
        "the same head, nothing imagined": without_imagination,
        "observed latents (the motion is over)": observed,
    }
    for name, seen in others.items():
        other = ArmModel(model.config)
        fit_hold(other, seen(train), seen(validation))
        by[name] = _end(hold_probability(other, seen(test))[0])
    for name in cases["test"]:
        fit: Cases = (cases["train"][name], ends["train"])
        by[name] = best_probe(fit, (cases["validation"][name], ends["validation"])).probability(cases["test"][name])
    by["a constant"] = np.full(len(ends["test"]), ends["train"].mean())
    return Told(by, mean_KL.double().numpy(), (test.outcome_KL == HELD).numpy(), grips[test.index_K.numpy()])


def without_motion(grips: Grips) -> Grips:
    """The same grips for a head without the motion as input: it can only know it from the imagined latents."""
    return replace(grips, actions_KLA=torch.zeros_like(grips.actions_KLA))


def _end(probability_KL: Tensor) -> FloatArray:
    return probability_KL[:, -1].double().numpy()


def features_of(grips: Grips, pixels_KC: Tensor) -> dict[str, Tensor]:
    """(K, C) of each probe that imagines nothing. All but the pixels' also know the gripper's width and the command to close."""
    squeeze = squeeze_features(grips.squeeze_K2)
    now = torch.cat([grips.grip_KHPD.flatten(1), squeeze], dim=1)
    hardest = motion_features(grips.actions_KLA).amax(dim=1)
    motion = torch.cat([scaled(grips.actions_KLA).flatten(1), hardest, squeeze], dim=1)
    return {
        "latent of now": now,
        "latent of now and the motion, nothing imagined": torch.cat([now, motion], dim=1),
        "the motion and the squeeze alone": motion,
        "pixels of now": pixels_KC,
    }


def pixels_of(episodes: ArmEpisodes, grips: Grips) -> Tensor:
    """(K, C) coarse images of each closed grip."""
    index = grips.index_K.numpy()
    images = torch.from_numpy(episodes.images[index, episodes.grip[index]]).flatten(0, 1).float()
    return torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), PIXELS).reshape(len(index), -1) / 255


def decided_by_motion(held: NDArray[np.bool_], grip: NDArray[np.int64]) -> float:
    """Share of the grips that some motions keep and others lose."""
    outcomes = [held[grip == name] for name in np.unique(grip)]
    return float(np.mean([0 < one.sum() < len(one) for one in outcomes]))
