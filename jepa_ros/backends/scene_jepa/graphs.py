"""The static parts of scene_jepa, as modules of tensors alone: what `engine` exports. Nothing in them waits for the host.

Axes: T history step, H future step, K camera, C observed channel, D latent width, Z sampling height, Y row, X column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_ros.backends.engine import Part
from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.latents import TOKENS
from jepa_ros.backends.scene_jepa.prediction import ObservedSteps, probe_logits
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
    """The observed channels of all future latents."""

    def __init__(self, predictor: ScenePredictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, older_TDYX: Tensor, newest_DYX: Tensor, observed_TCYX: Tensor, actions_1HA: Tensor) -> tuple[Tensor]:
        """(H, C, Y, X)."""
        shared = self.predictor.trunk_of(older_TDYX[None], newest_DYX[None])
        return (ObservedSteps(self.predictor, shared, observed_TCYX, actions_1HA)(slice(None)),)


class ProbeGraph(nn.Module):
    """The occupancy probe."""

    def __init__(self, probe: OccupancyProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, latents_BCYX: Tensor) -> tuple[Tensor]:
        """(B, Y, X) probabilities."""
        return (probe_logits(self.probe, latents_BCYX).sigmoid(),)


def parts(
    config: SceneJepaConfig, encoder: SceneEncoder, predictor: ScenePredictor, probe: OccupancyProbe, heights: int, device: torch.device
) -> dict[str, Part]:
    """All parts by name, with inputs of the shapes that they will see."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    rows, columns = TOKENS
    past, read = config.history - 1, config.remembered
    pillars, side = some(1, config.pillar_channels, 2 * rows, 2 * columns), rows // 2
    found = {
        f"encoder_{count}": Part(
            EncoderGraph(encoder), (pillars, some(1, count, 3, *IMAGE_SIZE), 2.4 * some(1, count, heights, side, side, 2) - 1.2)
        )
        for count in CAMERAS
    }
    observed = 4.0 * (some(config.history, config.grounded, rows, columns) > 0.9)
    actions = 5 * some(1, config.horizon, 3)
    found["predictor"] = Part(
        PredictorGraph(predictor), (some(past, read, rows, columns), some(config.width, rows, columns), observed, actions)
    )
    found["probe_now"] = Part(ProbeGraph(probe), (observed[-1:].clone(),))
    found["probe"] = Part(ProbeGraph(probe), (observed[:1].expand(config.horizon, -1, -1, -1).contiguous(),))
    return found
