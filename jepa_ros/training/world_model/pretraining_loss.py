"""One batch -> the losses and what is logged beside them.

Axes: B batch, T history step, S future step, D latent width, Y row, X column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.config import param, validate
from jepa_ros.training import losses
from jepa_ros.training.metrics import spread
from jepa_ros.training.parallel import gather_tokens
from jepa_ros.training.world_model.windows import Window


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the losses. The probe's loss reaches the probe alone."""

    regulariser: str = param("vicreg", "what keeps the latents from collapsing", choices=("vicreg", "sigreg"))
    regulariser_weight: float = param(
        2.0, "weight of the anti-collapse term beside the prediction error; sigreg needs about 20", at_least=0.0
    )
    targets: str = param("online", "encoder of the targets: the one that learns, or its moving average", choices=("online", "ema"))
    ema_decay: float = param(0.99, "ema: share of the moving average that a step keeps", at_least=0.0, at_most=1.0)
    moving_weight: float = param(3.0, "weight, beside 1, of the prediction error where something has entered or left", at_least=0.0)
    recall_weight: float = param(1.0, "without lidar: weight of the error against the present latent from all sensors", at_least=0.0)
    covariance_weight: float = param(0.5, "vicreg: weight of the covariance term beside the variance term", at_least=0.0)
    tokens: int = param(4096, "tokens that the anti-collapse statistics are taken over", at_least=2)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Forward:
    """All latents of a batch."""

    now_BDYX: Tensor
    predicted_BSDYX: Tensor
    logits_BSYX: Tensor  # of occupancy at the same steps; no gradient goes on from them
    target_BSDYX: Tensor  # no gradient
    valid_BSYX: Tensor  # 1 where the future sweep saw something of a token
    whole_BDYX: Tensor  # now as all sensors say it, no gradient: `now_BDYX` itself where the lidar is among its sensors


def forward(model: SceneJepa, batch: Window, teacher: SceneEncoder | None = None) -> Forward:
    """Encode the past, predict, and encode the futures for comparison. teacher: encoder of the futures; None = the model's own."""
    size, steps = batch.now_from_history.shape[:2]
    now = model.encoder(_flat(_steps(batch.history, slice(steps - 1, steps))))
    # The encoder learns from the newest frame alone, at half the cost: it is the same encoder, and older frames enter as it sees them.
    with torch.no_grad():
        past = model.encoder(_flat(_steps(batch.history, slice(0, steps - 1))))
        aligned = model.align_map(past.float(), batch.now_from_history[:, :-1].flatten(0, 1).cpu().numpy()).to(now.dtype)
    history = torch.cat([aligned.unflatten(0, (size, steps - 1)), now[:, None]], dim=1)
    predicted, logits = model.futures(history, batch.actions, batch.steps)
    with torch.no_grad():
        target = (teacher or model.encoder)(_flat(batch.targets)).unflatten(0, (size, -1))
    whole = now.detach() if target.shape[1] == len(batch.steps) else target[:, 0]
    return Forward(history[:, -1], predicted, logits, target[:, -len(batch.steps) :], seen_tokens(batch.visible[:, 1:]), whole)


def seen_tokens(visible: Tensor) -> Tensor:
    """(B, S, 2Y, 2X) visible cells -> (B, S, Y, X) tokens of which at least half of the cells are visible."""
    return (F.avg_pool2d(visible.float(), 2) >= 0.5).float()


def moving_tokens(occupied: Tensor, visible: Tensor) -> Tensor:
    """(B, 1 + S, 2Y, 2X) cells, now first -> (B, S, Y, X) tokens that something has entered or left since now, 1 or 0.

    Told from the sweeps alone: occupied at one time and, seen at both, free at the other with all cells around, since sweeps hit the
    same thing in this cell or the next one.
    """
    now, then, seen = occupied[:, :1].float(), occupied[:, 1:].float(), (visible[:, :1] * visible[:, 1:]).float()
    change = seen * torch.maximum(then * (1 - F.max_pool2d(now, 3, 1, 1)), now * (1 - F.max_pool2d(then, 3, 1, 1)))
    return F.max_pool2d(change, 2)


def total_loss(
    model: SceneJepa, batch: Window, config: ObjectiveConfig, generator: torch.Generator, teacher: SceneEncoder | None = None
) -> tuple[Tensor, dict[str, float]]:
    """The loss to descend and the scalars to log. teacher: encoder of the targets, None = the model's own."""
    out = forward(model, batch, teacher)
    weight = out.valid_BSYX * (1 + config.moving_weight * moving_tokens(batch.occupied, batch.visible))
    prediction = losses.prediction_loss(out.predicted_BSDYX, out.target_BSDYX, weight)
    seen_now = seen_tokens(batch.visible[:, :1])[:, 0]
    recall = losses.prediction_loss(out.now_BDYX[:, None], out.whole_BDYX[:, None], seen_now[:, None])
    tokens = gather_tokens(losses.draw_tokens(out.now_BDYX, seen_now, config.tokens, generator).float())
    with torch.autocast(tokens.device.type, enabled=False):  # statistics need more digits than bfloat16 has
        anti_collapse = anti_collapse_loss(tokens, config, generator)

    read = torch.cat([out.now_BDYX[:, None], out.predicted_BSDYX], dim=1).detach()
    logits = model.occupancy_probe(read.flatten(0, 1)).unflatten(0, read.shape[:2])
    probe = losses.occupancy_loss(logits, batch.occupied, batch.visible)
    if model.occupancy_head is not None:
        probe = probe + losses.occupancy_loss(out.logits_BSYX, batch.occupied[:, 1:], batch.visible[:, 1:])

    with torch.no_grad():
        unchanged = out.now_BDYX[:, None].expand_as(out.target_BSDYX)
        persistence = losses.prediction_loss(unchanged, out.target_BSDYX, weight)
        health = spread(tokens)
    scalars = {
        "loss/prediction": prediction.item(),
        "loss/recall": recall.item(),
        "loss/anti_collapse": anti_collapse.item(),
        "loss/probe": probe.item(),
        "prediction_over_persistence": (prediction / persistence.clamp(min=1e-9)).item(),
        "latent/effective_rank": health.effective_rank,
        "latent/least_variance": health.least_variance,
        "latent/mean_variance": health.mean_variance,
    }
    return prediction + config.recall_weight * recall + config.regulariser_weight * anti_collapse + probe, scalars


def anti_collapse_loss(tokens_KD: Tensor, config: ObjectiveConfig, generator: torch.Generator) -> Tensor:
    """The regulariser that the configuration names."""
    if config.regulariser == "sigreg":
        return losses.sigreg_loss(tokens_KD, generator)
    variance, covariance = losses.vicreg_loss(tokens_KD)
    return variance + config.covariance_weight * covariance


def _steps(scene: SceneInput, chosen: slice) -> SceneInput:
    """Some of the steps of a (B, T, ...) scene."""
    return SceneInput(*(getattr(scene, name)[:, chosen] for name in SceneInput.__dataclass_fields__))


def _flat(scene: SceneInput) -> SceneInput:
    """Fold time into the batch."""
    return SceneInput(*(getattr(scene, name).flatten(0, 1) for name in SceneInput.__dataclass_fields__))
