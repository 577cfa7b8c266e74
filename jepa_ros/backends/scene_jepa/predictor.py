"""Aligned past latents + intended ego motion -> latents of every future step, in one pass.

Axes: B batch, T history step (oldest first), H future step, S the future steps asked for, D latent width, Y row, X column, A = (x, y, yaw).
All steps are predicted directly from one trunk, so the cost of a step is small and errors do not pile up from step to step.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.blocks import ChannelNorm, ResBlock, Up, down
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig

EGO_SIGMA_M = 1.5  # softness of the rendered ego footprint


class ScenePredictor(nn.Module):
    """predicted latent = newest latent, mixed with the older ones and faded as the scene demands, + a change; it starts as persistence."""

    def __init__(self, config: SceneJepaConfig, half_m: float) -> None:
        super().__init__()
        self.config = config
        self.half_m = half_m
        c, s = config.trunk, config.step
        first, coarse, last = ([ResBlock(c, config.narrow) for _ in range(count)] for count in config.blocks)
        self.stem = nn.Sequential(down(config.read, c), *first)
        self.coarse = nn.Sequential(down(c, c), *coarse, Up(c, c))
        self.fine = nn.Sequential(*last, ChannelNorm(c), nn.Conv2d(c, s, 1))
        self.when = nn.Sequential(nn.Linear(config.horizon + 5, 64), nn.ReLU(), nn.Linear(64, 2 * s))
        self.footprint = nn.Conv2d(2, s, 3, padding=1, bias=False)
        # Beside the change: per token, how much of each older latent to mix in and how far to fade, for observed and learned channels.
        change = Up(s, config.width + 2 * config.history)
        nn.init.zeros_(change.project.weight)
        nn.init.zeros_(change.project.bias)  # type: ignore[arg-type]  # a bias is there unless switched off
        self.step = nn.Sequential(nn.Conv2d(s, s, 3, padding=1), nn.ReLU(), change)

    def forward(self, history_BTDYX: Tensor, actions_BHA: Tensor, steps: Tensor | None = None, trunk_BsYX: Tensor | None = None) -> Tensor:
        """(B, S, D, Y, X). actions_BHA: at most `horizon` steps; steps: indices into H (default: all of them).

        trunk_BsYX: where it is known already; then the first channels of a history, such as those that were observed, give as many of
        what is predicted.
        """
        if steps is None:
            steps = torch.arange(actions_BHA.shape[1], device=actions_BHA.device)
        batch = len(actions_BHA)
        shared = self.trunk(self.read(history_BTDYX[:, :-1], history_BTDYX[:, -1])) if trunk_BsYX is None else trunk_BsYX
        scale, shift = self.motion(actions_BHA, steps, shared.dtype)
        footprint = self.footprint(self.render(actions_BHA, steps, shared.shape[-2:]).flatten(0, 1).to(shared.dtype))

        conditioned = shared[:, None] * (1 + scale[..., None, None]) + shift[..., None, None]  # (B, S, s, y, x)
        hidden = self.step[:2](F.relu(conditioned.flatten(0, 1) + footprint).contiguous(memory_format=torch.channels_last))
        return self._mix(history_BTDYX, self.step[2](hidden).unflatten(0, (batch, len(steps))))

    def read(self, older_BTCYX: Tensor, newest_BDYX: Tensor) -> Tensor:
        """(B, C, Y, X), channels-last in memory: what the trunk reads, `config.remembered` channels of each older latent first."""
        older_BYXTC = older_BTCYX[:, :, : self.config.remembered].permute(0, 3, 4, 1, 2)
        # Place by place: both lie like that already where a robot runs it.
        return torch.cat([older_BYXTC.flatten(3), newest_BDYX.permute(0, 2, 3, 1)], dim=3).permute(0, 3, 1, 2)

    def trunk(self, read_BCYX: Tensor) -> Tensor:
        """(B, s, Y/2, X/2): all that does not depend on the intended motion. read_BCYX: from `read`."""
        stem = self.stem(read_BCYX)
        shared: Tensor = self.fine(stem + self.coarse(stem))
        return shared

    def motion(self, actions_BHA: Tensor, steps: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(B, S, s) factor (less 1) and shift that each step of a motion puts on the trunk's channels."""
        one_hot = F.one_hot(steps, self.config.horizon).to(dtype)
        pose = actions_BHA[:, steps].to(dtype)  # (B, S, 3)
        time_s = self.config.dt_s * (steps + 1).to(dtype)[None, :, None]
        motion = torch.cat([pose[..., :2] / self.half_m, pose[..., 2:].sin(), pose[..., 2:].cos() - 1, pose[..., :1] / time_s / 10], dim=-1)
        scale, shift = self.when(torch.cat([one_hot.expand(len(pose), -1, -1), motion], dim=-1)).chunk(2, dim=-1)
        return scale, shift

    def _mix(self, history_BTDYX: Tensor, change: Tensor) -> Tensor:
        """(B, S, D, Y, X) from the aligned history and what the network says of each step."""
        observed, width, past = self.config.grounded, self.config.width, self.config.history
        history = history_BTDYX.to(change.dtype).contiguous()  # one layout for all that follows: this part is bound by memory
        mixed = []
        for begin, end, first in ((0, observed, width), (observed, width, width + past)):
            end = min(end, history.shape[2])
            if begin >= end:
                break
            fade, older = change[:, :, first : first + 1], change[:, :, first + 1 : first + past]
            # The newest latent gives way to what is mixed in, so that a mix of equal latents is that latent again.
            shares = torch.cat([older, 1 - fade - older.sum(dim=2, keepdim=True)], dim=2)
            part = change[:, :, begin:end]
            for k in range(past):
                part = torch.addcmul(part, shares[:, :, k, None], history[:, None, k, begin:end])
            mixed.append(part)
        return torch.cat(mixed, dim=2)

    def render(self, actions_BHA: Tensor, steps: Tensor, size: torch.Size) -> Tensor:
        """(B, S, 2, y, x): where the ego will be at each step, and all that it will have swept by then."""
        rows, columns = size
        y = (torch.arange(rows, device=actions_BHA.device) + 0.5) * (2 * self.half_m / rows) - self.half_m
        x = (torch.arange(columns, device=actions_BHA.device) + 0.5) * (2 * self.half_m / columns) - self.half_m
        along = (x - actions_BHA[..., 0:1]).square()  # (B, H, x)
        across = (y - actions_BHA[..., 1:2]).square()  # (B, H, y)
        present = torch.exp(-(across[..., :, None] + along[..., None, :]) / (2 * EGO_SIGMA_M**2))  # (B, H, y, x)
        swept = torch.stack(list(accumulate(present.unbind(1), torch.maximum)), dim=1)
        return torch.stack([present[:, steps], swept[:, steps]], dim=2)
