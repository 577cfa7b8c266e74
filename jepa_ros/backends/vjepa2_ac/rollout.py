"""Predicts the results of many candidate action sequences, and their distance to a goal.

Axes: B candidate, T context step (last = now), L planned step, P patch, D encoder width, 7 state or action.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.vjepa2_ac.poses import advance, difference
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor


def normalised(latents: Tensor) -> Tensor:
    """Layer norm without parameters over the width, as the published model has it on what it is given and on what it predicts."""
    return F.layer_norm(latents, latents.shape[-1:])


class Imagination:
    """Rolls one context forward under many candidates.

    The steps before now are the same for all candidates: their keys and values are computed once, here, and shared.
    """

    def __init__(
        self, predictor: ActionConditionedPredictor, latents_TPD: Tensor, states_T7: Tensor, past_actions_T7: Tensor | None = None
    ) -> None:
        """latents_TPD: normalised; states_T7: of the robot when each was seen; past_actions_T7: one fewer, what was intended between them,
        where that is known to differ from what came of it."""
        if len(latents_TPD) != len(states_T7):
            raise ValueError(f"{len(latents_TPD)} latents and {len(states_T7)} states: one state is needed for each latent")
        self._predictor = predictor
        self._now_PD = latents_TPD[-1]
        self._state_7 = states_T7[-1]
        self._past = None
        if len(latents_TPD) > 1:
            actions_T7 = difference(states_T7[:-1], states_T7[1:]) if past_actions_T7 is None else past_actions_T7
            _, self._past = predictor.extend(None, latents_TPD[None, :-1], actions_T7[None], states_T7[None, :-1])

    def rollout(self, actions_BL7: Tensor) -> Tensor:
        """(B, L, P, D): the latents after each action."""
        batch = len(actions_BL7)
        latent_BPD, state_B7 = self._now_PD.expand(batch, -1, -1), self._state_7.expand(batch, -1)
        context = self._past.expand(batch) if self._past else None
        predicted = []
        for action_B7 in actions_BL7.unbind(1):
            next_B1PD, context = self._predictor.extend(context, latent_BPD[:, None], action_B7[:, None], state_B7[:, None])
            latent_BPD, state_B7 = normalised(next_B1PD[:, 0]), advance(state_B7, action_B7)
            predicted.append(latent_BPD)
        return torch.stack(predicted, dim=1)

    def energy(self, actions_BL7: Tensor, goal_PD: Tensor) -> Tensor:
        """(B,): mean absolute difference between the last predicted latent and the goal."""
        return (self.rollout(actions_BL7)[:, -1] - goal_PD).abs().mean(dim=(1, 2))
