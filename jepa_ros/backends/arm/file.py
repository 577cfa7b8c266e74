"""An arm's model in one safetensors file: weights, sizes, and what its training knew of the robot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save_file

from jepa_ros.backends.arm.network import ArmModel, ArmModelConfig
from jepa_ros.backends.checkpoints import load_strictly
from jepa_ros.config import from_dict, param, validate
from jepa_ros.weights import read_safetensors


@dataclass(frozen=True)
class ArmFacts:
    """What was measured in the recordings. A motion beyond these is a guess."""

    dt_s: float = param(0.25, "between two images, and length of an action, s", at_least=0.01, at_most=10.0)
    max_move_m: float = param(0.05, "largest move along an axis in one action, m", at_least=1e-4, at_most=2.0)
    max_turn_rad: float = param(0.0, "largest turn about an axis in one action, rad", at_least=0.0, at_most=3.2)
    horizon: int = param(6, "actions that can be imagined", at_least=1, at_most=10)
    holds: bool = param(False, "trained on grips with a known outcome: it can predict whether a grip holds")

    cameras: tuple[str, ...] = param((), "topics of the cameras, in the order of training")

    def __post_init__(self) -> None:
        validate(self)


def save(model: ArmModel, facts: ArmFacts, path: Path) -> None:
    """Written by rename, so that it is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    weights = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, partial, {"config": json.dumps(asdict(model.config)), "facts": json.dumps(asdict(facts))})
    partial.replace(path)


def load(path: Path) -> tuple[ArmModel, ArmFacts]:
    """Ready for inference. Raises ValueError where the file is missing, damaged or does not fit."""
    fix = "python -m jepa_ros.training arm BAG... --out DIRECTORY leaves DIRECTORY/arm.safetensors"
    about, weights = read_safetensors(path, fix)
    config = from_dict(ArmModelConfig, json.loads(about.get("config", "{}")), where=f"{path}: config")
    facts = from_dict(ArmFacts, json.loads(about.get("facts", "{}")), where=f"{path}: facts")
    model = ArmModel(config)
    load_strictly(model, weights, str(path))
    return model.eval().requires_grad_(False), facts
