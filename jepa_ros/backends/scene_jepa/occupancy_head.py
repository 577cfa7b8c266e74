"""The occupancy head: all future steps at once, read off what the predictor's trunk has learned of the scene.

The probe reads each predicted latent by itself, twelve times. What it needs of them, how the cells of now fade, spread and move, is in the
trunk already, from which all of these latents are made; so one small decoder says it of every step together, at a tenth of the work.
Beside the trunk it reads the latents that the trunk has read: there lies which cell exactly holds a return.

Axes: B batch, T history step, H future step, C channel that is read, s channel of the trunk, Y row, X column.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.blocks import Up
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe

STAYS = 0.5  # share of the newest latent in what it says before training, the rest being the older ones': a mean of sweeps stays


class OccupancyHead(nn.Module):
    """(B, C, Y, X) aligned latents and the (B, s, Y/2, X/2) trunk of them -> (B, H, 2Y, 2X) logits that a lidar return falls into a cell.

    The ego's intended motion changes nothing in it: it says what comes if the ego goes on as before. What another motion would change say
    the predicted latents, see `windows.OccupancyWindows`.
    """

    def __init__(self, config: SceneJepaConfig) -> None:
        super().__init__()
        self.config = config
        read = config.read
        self.enter = nn.Conv2d(read, config.head, 1)
        self.up = Up(config.step, config.head)
        self.mix = nn.Conv2d(config.head, config.head, 3, padding=1)
        self.out = nn.Conv2d(config.head, 2 * 4 * config.horizon, 1)  # how far `direct` is trusted, less 1, and what is added
        self.direct = nn.Conv2d(read, 4 * config.horizon, 1)
        self._start_from_the_definition()

    def forward(self, read_BCYX: Tensor, trunk_BsYX: Tensor) -> Tensor:
        """read_BCYX: from `ScenePredictor.read`, channels-last in memory."""
        # Convolutions of one cell as matrix products: as convolutions they are slow on a CPU.
        entered_BYXC = F.linear(read_BCYX.permute(0, 2, 3, 1), self.enter.weight.flatten(1), self.enter.bias)
        hidden_BCYX = F.relu(self.mix(F.relu(entered_BYXC.permute(0, 3, 1, 2) + self.up(trunk_BsYX))))
        assert self.out.bias is not None
        trust_less_1, added = self.out.bias.chunk(2)
        direct_BOM = _of_cells(self.direct, read_BCYX, self.direct.bias)
        read_off_BOM = _of_cells(self.out, hidden_BCYX, torch.cat([1.0 + trust_less_1, added]))
        trust_BOM, added_BOM = read_off_BOM.chunk(2, dim=1)
        logits_BOM = torch.addcmul(added_BOM, trust_BOM, direct_BOM)
        batch, _, rows, columns = read_BCYX.shape
        cells = logits_BOM.view(batch, self.config.horizon, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
        return cells.reshape(batch, self.config.horizon, 2 * rows, 2 * columns)

    @torch.no_grad()
    def _start_from_the_definition(self) -> None:
        """Before training each step says what the probe says by definition of the newest latent, in part, and of the older ones."""
        config = self.config
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        defined = OccupancyProbe(config.grounded).direct
        nn.init.zeros_(self.direct.weight)
        self.direct.bias.copy_(defined.bias.repeat(config.horizon))  # type: ignore[union-attr]
        past = config.history - 1
        shares = [(1 - STAYS) / past] * past + [STAYS] if past else [1.0]
        for step, share in enumerate(shares):
            begin = step * config.remembered
            self.direct.weight[:, begin : begin + config.grounded] = share * defined.weight.repeat(config.horizon, 1, 1, 1)


def _of_cells(convolution: nn.Conv2d, maps_BCYX: Tensor, bias_O: Tensor | None) -> Tensor:
    """(B, O, Y X) what a convolution of one cell, with this bias, makes of channels-last maps: the bias goes in with the product."""
    assert bias_O is not None
    weight_BOC = convolution.weight.flatten(1).expand(len(maps_BCYX), -1, -1)
    return torch.baddbmm(bias_O[:, None], weight_BOC, maps_BCYX.flatten(2))
