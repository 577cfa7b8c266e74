"""The static parts of scene_jepa, as modules of tensors alone: what `engine` exports. Nothing in them waits for the host.

Axes: T history step, H future step, K camera, C channel that is read, s channel of the trunk, D latent width, Z sampling height,
Y row, X column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_ros.backends.engine import Part
from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.latents import TOKENS
from jepa_ros.backends.scene_jepa.occupancy_head import OccupancyHead
from jepa_ros.backends.scene_jepa.prediction import probe_logits
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe

CAMERAS = (0, 1)  # a graph of the encoder has a fixed number of images; other numbers run eagerly


class EncoderGraph(nn.Module):
    """Of a scene with a lidar."""

    def __init__(self, encoder: SceneEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pillars_1CYX: Tensor, images_1KCHW: Tensor, pixels_1KZYX2: Tensor) -> tuple[Tensor, Tensor]:
        """(1, D, Y, X) latents, and (1, K, C, H, W) what was made of the images alone (nothing of none)."""
        one = torch.ones(1, device=pillars_1CYX.device)
        nowhere = torch.zeros(1, 0, 1, 1, 3, device=pillars_1CYX.device)
        scene = SceneInput(pillars_1CYX, one, images_1KCHW, pixels_1KZYX2, nowhere)
        features = self.encoder.camera.features(images_1KCHW) if images_1KCHW.shape[1] else images_1KCHW
        return self.encoder(scene, features), features


class PredictorGraph(nn.Module):
    """What all steps have in common, and the occupancy of each."""

    def __init__(self, predictor: ScenePredictor, head: OccupancyHead) -> None:
        super().__init__()
        self.predictor, self.head = predictor, head

    def forward(self, older_TCYX: Tensor, newest_DYX: Tensor) -> tuple[Tensor, Tensor]:
        """(1, s, Y/2, X/2) trunk, and (H, 2Y, 2X) probabilities."""
        read_BCYX = self.predictor.read(older_TCYX[None], newest_DYX[None])
        trunk_BsYX = self.predictor.trunk(read_BCYX)
        return trunk_BsYX, self.head(read_BCYX, trunk_BsYX)[0].sigmoid()


class ProbeGraph(nn.Module):
    """The occupancy probe, of one latent."""

    def __init__(self, probe: OccupancyProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, latents_BCYX: Tensor) -> tuple[Tensor]:
        """(B, Y, X) probabilities."""
        return (probe_logits(self.probe, latents_BCYX).sigmoid(),)


def parts(
    config: SceneJepaConfig,
    encoder: SceneEncoder,
    predictor: ScenePredictor,
    head: OccupancyHead | None,
    probe: OccupancyProbe,
    heights: int,
    device: torch.device,
) -> dict[str, Part]:
    """All parts by name, with inputs of the shapes that they will see."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    rows, columns = TOKENS
    pillars, side = some(1, config.pillar_channels, 2 * rows, 2 * columns), rows // 2
    found = {
        f"encoder_{count}": Part(
            EncoderGraph(encoder), (pillars, some(1, count, 3, *IMAGE_SIZE), 2.4 * some(1, count, heights, side, side, 2) - 1.2)
        )
        for count in CAMERAS
    }
    if head is not None:
        past = some(config.history - 1, config.remembered, rows, columns)
        found["predictor"] = Part(PredictorGraph(predictor, head), (past, some(config.width, rows, columns)))
    found["probe"] = Part(ProbeGraph(probe), (4.0 * (some(1, config.grounded, rows, columns) > 0.9),))
    return found
