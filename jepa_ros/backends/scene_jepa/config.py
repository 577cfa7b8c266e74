"""What a scene_jepa is built from. Stored inside its weights file, so that weights and shape never part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from jepa_ros.config import param, validate
from jepa_ros.sensing.voxelize import HEIGHT_BANDS_M, OCCUPIED_M, pillar_channels

IMAGE_SIZE = (96, 256)  # rows, columns that every image is brought to; its calibration is in normalised coordinates and does not mind
FIRST_BAND = 4  # channel of pillars() from which on it counts the returns of each height band
BODY = [band for band, (low_m, high_m) in enumerate(pairwise(HEIGHT_BANDS_M)) if low_m >= OCCUPIED_M[0] and high_m <= OCCUPIED_M[1]]

GROUNDED_SCALE = 4.0  # few cells hold a return: this brings the observed channels near the unit variance of the learned ones


@dataclass(frozen=True)
class SceneJepaConfig:
    """Sizes of the network and the steps it knows."""

    history: int = param(4, "latents that the predictor sees, the newest one included", at_least=1)
    horizon: int = param(12, "future steps that are predicted", at_least=1)
    dt_s: float = param(0.4, "time between steps, seconds", at_least=0.01)
    pillar_channels: int = param(
        pillar_channels(), "features of a lidar pillar, as jepa_ros.sensing.voxelize.pillars gives them", at_least=1
    )
    width: int = param(40, "latent width D; one token covers 2 x 2 cells; the first `grounded` channels are not learned", at_least=21)
    stem: int = param(32, "channels at 64 x 64", at_least=1)
    body: int = param(64, "channels at 32 x 32", at_least=1)
    camera: int = param(48, "channels of the image features", at_least=1)
    trunk: int = param(96, "channels of the predictor's trunk", at_least=1)
    blocks: tuple[int, int, int] = param(
        (1, 2, 2), "residual blocks of the trunk: where it begins, at half that resolution, and where it ends"
    )
    step: int = param(64, "channels of the part that each future step has to itself", at_least=1)
    narrow: int = param(1, "residual blocks of encoder and trunk have so many times fewer channels inside than outside", at_least=1)
    recall: bool = param(True, "whether the trunk reads what was learned of older steps too, not only what they observed")
    probe: int = param(32, "hidden channels of the occupancy probe", at_least=1)
    head: int = param(
        32, "hidden channels of the occupancy head, see occupancy_head; 0 = none, the probe reads each predicted latent instead", at_least=0
    )
    columns: bool = param(False, "whether images without a lidar are read column by column, see camera.CameraColumns")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def grounded(self) -> int:
        """Channels of a latent that hold which height bands of its 2 x 2 cells hold a return; the others are learned."""
        return 4 * (self.pillar_channels - FIRST_BAND)

    @property
    def remembered(self) -> int:
        """Channels of an older latent that the predictor's trunk reads."""
        return self.width if self.recall else self.grounded

    @property
    def read(self) -> int:
        """Channels that the trunk reads: of the older latents, then of the newest."""
        return (self.history - 1) * self.remembered + self.width
