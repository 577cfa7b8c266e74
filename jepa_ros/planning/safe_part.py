"""The part of a found motion that is safe to carry out: all of it, its beginning and then a stop, or its beginning more slowly.

Two conditions hold. The collision probability of the whole part is bounded. And its first step with the shortest stop after it, which is
all that happens before the next plan can change anything, must touch nobody, with a much lower bound. A contact while the robot stands is
not its fault; a contact while it brakes means that it braked too late (passive safety: Macek et al., Towards safe vehicle navigation in
dynamic urban scenarios, 2009).

Axes: S candidate, L step, U command.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_ros.planning.outcome import STOPPED_MPS
from jepa_ros.planning.verify import Verifier
from jepa_ros.protocols import Dynamics, Rollout

PARTS_KEPT = (1.0, 0.7, 0.45, 0.25, 0.12)  # shares of the motion that are carried out before a stop; the longest safe one is taken
SLOWER = (0.5, 0.2)  # shares of its speed; tried with a stop after SLOWER_KEPT of it
SLOWER_KEPT = 0.25
STARTING_STEPS = 3  # who stands may as well wait: what a start commits to is longer


@dataclass(frozen=True)
class SafePart:
    """What is left of a motion. `why` it is not all of it: empty where it is."""

    rollout: Rollout  # of one candidate
    probability: float
    why: str


def safe_part(
    commands_LU: Tensor, init_X: Tensor, dynamics: Dynamics, verifier: Verifier, most: float, most_imminent: float
) -> SafePart | str:
    """The longest safe part, the fastest of the slower ones where none is; else why there is none.

    most: bound of the collision probability. most_imminent: bound of the probability that what is committed to touches somebody, beyond
    that of touching them now, which nothing can undo.
    """
    why, committed_steps = "", STARTING_STEPS if abs(float(init_X[3])) < STOPPED_MPS else 1
    for speeds, kept in (((1.0,), PARTS_KEPT), (SLOWER, (SLOWER_KEPT,))):  # slower is looked at only where that is needed
        shares = [(share, speed) for speed in speeds for share in kept]
        kept_steps = [round(len(commands_LU) * share) for share, _ in shares]
        parts_SLU = torch.stack([stop_after(speed * commands_LU, steps) for steps, (_, speed) in zip(kept_steps, shares, strict=True)])
        committed_SLU = torch.stack([stop_after(speed * commands_LU, committed_steps) for speed in speeds])
        rollout = dynamics.rollout(init_X, torch.cat((parts_SLU, committed_SLU)))
        probability_S, touching_S = verifier.collision_probability(from_start(init_X, rollout), rollout.dt_s)
        imminent = dict(zip(speeds, (touching_S[len(shares) :] - verifier.contact_now(init_X)).tolist(), strict=True))
        if not why:
            why = f"the best motion found has collision probability {float(probability_S[0]):.2f} ({float(touching_S[0]):.2f} with people)"
            if imminent[1.0] > most_imminent:
                why = f"the best motion found could not stop in time for people nearby (probability of contact {imminent[1.0]:.2f})"
        for index, (share, speed) in enumerate(shares):
            if not (probability_S[index] <= most and imminent[speed] <= most_imminent):  # what is no number is not safe
                continue
            alone = slice(index, index + 1)
            part = Rollout(rollout.states_SLX[alone], rollout.commands_SLU[alone], rollout.dt_s)
            if share == 1.0 and speed == 1.0:
                return SafePart(part, float(probability_S[index]), "")
            slower = f", at {speed:.0%} of the speed" if speed < 1.0 else ""
            reason = f"stops from {kept_steps[index] * rollout.dt_s:.1f} s on{slower}: {why}"
            return SafePart(part, float(probability_S[index]), reason)
    return why


def stop_after(commands_LU: Tensor, steps: int) -> Tensor:
    """The same commands, and the shortest stop from a step on."""
    stopped_LU = commands_LU.clone()
    stopped_LU[steps:] = 0.0
    return stopped_LU


def from_start(init_X: Tensor, rollout: Rollout) -> Tensor:
    """(S, L + 1, 4) states with the start as the first."""
    start_S1X = init_X[:4].expand(rollout.states_SLX.shape[0], 1, 4)
    return torch.cat((start_S1X, rollout.states_SLX), dim=1)
