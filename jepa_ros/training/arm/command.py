"""`python -m jepa_ros.training arm BAG...`: recordings of an arm -> `arm.safetensors`, for the nodes with model:=arm."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_ros.backends.arm.file import ArmFacts, save
from jepa_ros.backends.arm.network import ArmModel
from jepa_ros.config import load as load_config
from jepa_ros.config import param, validate
from jepa_ros.sensing.bags.records import BagError
from jepa_ros.training.arm.bags import read_bag
from jepa_ros.training.arm.episodes import HELD, UNKNOWN, ArmEpisodes
from jepa_ros.training.arm.hold import CONTEXT, Grips, fit_hold, grips_of, hold_probability, without_imagination
from jepa_ros.training.arm.lerobot import is_data_set, read_data_set
from jepa_ros.training.arm.loop import ArmTraining, health, train
from jepa_ros.training.arm.recording import ArmTopics
from jepa_ros.training.arm.stretches import GripperRange, GripRules, gripper_range, stretches_of

FEWEST_GRIPS = 8  # below that nothing is said about holding
USUAL = 99.5  # percentile of the actions that are within the limits


@dataclasses.dataclass(frozen=True)
class ArmCommand:
    """What the YAML file of --config may hold."""

    dt_s: float = param(0.25, "between two images, and length of an action, s", at_least=0.01, at_most=10.0)
    held_out: float = param(0.2, "share of the grips, and of the stretches, for evaluation only", at_least=0.05, at_most=0.5)
    gripper_open: float = param(float("nan"), "the joint's position with open fingers; left out: the largest that was seen")
    gripper_closed: float = param(float("nan"), "its position with fingers that touch; left out: the smallest that was seen")
    topics: ArmTopics = dataclasses.field(default_factory=ArmTopics)
    rules: GripRules = dataclasses.field(default_factory=GripRules)
    training: ArmTraining = dataclasses.field(default_factory=ArmTraining)

    def __post_init__(self) -> None:
        validate(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "bags",
        nargs="+",
        type=Path,
        metavar="BAG",
        help="bag folders, .mcap or .db3 files of one arm with the same cameras; or folders of LeRobot data sets (v3.0)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and arm.safetensors; a killed run goes on there")
    parser.add_argument("--config", type=Path, help="YAML file of ArmCommand fields (docs/arm.md)")
    parser.add_argument("--steps", type=int, help="optimiser steps, instead of the file's")
    for field in dataclasses.fields(ArmTopics):
        parser.add_argument(f"--{field.name}", default="", metavar="NAME", help=field.metadata.get("description", ""))


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options. Raises ValueError for recordings that teach nothing."""
    config = load_config(ArmCommand, args.config) if args.config else ArmCommand()
    named = {field.name: getattr(args, field.name) for field in dataclasses.fields(ArmTopics) if getattr(args, field.name)}
    training = dataclasses.replace(config.training, steps=args.steps) if args.steps else config.training
    config = dataclasses.replace(config, topics=dataclasses.replace(config.topics, **named), training=training)
    episodes, gripper, cameras = episodes_of(args.bags, config)
    learned, judged = divided(episodes, config.held_out)
    grips = int((episodes.grip >= 0).sum())
    print(f"{len(episodes)} stretches of {episodes.frames} images, {grips} with a grip; {len(judged)} only judge")
    sizes = dataclasses.replace(config.training.model, views=learned.views)
    model = train(learned, args.out, dataclasses.replace(config.training, model=sizes))
    facts, told = finish(model, learned, judged, config.dt_s, cameras)
    save(model, facts, args.out / "arm.safetensors")
    result = {**told, "gripper_open": gripper.open, "gripper_closed": gripper.closed, **dataclasses.asdict(facts)}
    for name, value in result.items():
        print(f"{name:28} {value if not isinstance(value, float) else round(value, 4)}")
    print(f"start it: ros2 launch jepa_ros arm.launch.py weights:={args.out / 'arm.safetensors'}")
    (args.out / "result.json").write_text(json.dumps(result))


def episodes_of(paths: list[Path], config: ArmCommand) -> tuple[ArmEpisodes, GripperRange, tuple[str, ...]]:
    """Of all recordings together; what the gripper can do, and the topics of the cameras.

    Raises ValueError where a recording cannot be used, is too short, or where one of two cameras has another name than in the first.
    """
    read = [(read_data_set if is_data_set(path) else read_bag)(path, config.topics, config.dt_s) for path in paths]
    cameras, runs = read[0].cameras, [run for one in read for run in one.runs]
    for path, one in zip(paths, read, strict=True):
        if len(cameras) > 1 and one.cameras != cameras:
            raise BagError(f"{path} sees through {', '.join(one.cameras)}, {paths[0]} through {', '.join(cameras)}: train on one kind")
    if not runs:
        raise BagError(f"{', '.join(map(str, paths))}: images, poses and the gripper's joint never came at the same time")
    seen = gripper_range(runs)
    given = (config.gripper_open, config.gripper_closed)
    gripper = GripperRange(*(seen_one if np.isnan(one) else one for one, seen_one in zip(given, (seen.open, seen.closed), strict=True)))
    return stretches_of(runs, gripper, config.training.frames + 1, config.rules), gripper, cameras


def divided(episodes: ArmEpisodes, share: float) -> tuple[ArmEpisodes, ArmEpisodes]:
    """What is learned from and what judges: grips and other stretches each in order, the last ones judge."""
    grips, others = np.flatnonzero(episodes.grip >= 0), np.flatnonzero(episodes.grip < 0)
    cuts = [round(len(part) * (1 - share)) for part in (grips, others)]
    # In order again: what a predictor leaves out is a stretch of the recordings with grips and without.
    learned = np.sort(np.concatenate([part[:cut] for part, cut in zip((grips, others), cuts, strict=True)]))
    judged = np.concatenate([part[cut:] for part, cut in zip((grips, others), cuts, strict=True)])
    if not len(learned) or not len(judged):
        raise ValueError(f"{len(episodes)} stretches are too few to learn from some and judge by the others: record more")
    return episodes.part(learned), episodes.part(judged)


def finish(
    model: ArmModel, learned: ArmEpisodes, judged: ArmEpisodes, dt_s: float, cameras: tuple[str, ...]
) -> tuple[ArmFacts, dict[str, Any]]:
    """Teach the head of holding where outcomes are known; what the weights know, and how good they are on stretches that only judged."""
    told: dict[str, Any] = health(model, judged)
    grips, others = _known(model, learned, learned=True), _known(model, judged)
    holds = grips is not None and others is not None and len(grips) >= FEWEST_GRIPS
    if grips is not None and others is not None and holds:
        start = {key: value.clone() for key, value in model.hold.state_dict().items()}
        told["hold_loss_not_imagined"] = fit_hold(model, without_imagination(grips), without_imagination(others))
        model.hold.load_state_dict(start)
        told["hold_loss"] = fit_hold(model, grips, others)
        share = float((grips.outcome_KL[grips.outcome_KL != UNKNOWN] == HELD).float().mean())
        told["hold_loss_constant"] = _constant_loss(share, others)
        told["hold_spread"] = float(hold_probability(model, others)[1].mean())
    else:
        print(f"holding is not learned: it takes {FEWEST_GRIPS} grips or more, held ones and lost ones among the learned and the judged")
    moves, turns = np.abs(learned.actions[..., :3]), np.abs(learned.actions[..., 3:6])
    facts = ArmFacts(
        dt_s=dt_s,
        max_move_m=float(np.clip(np.percentile(moves, USUAL), 1e-4, 2.0)),
        max_turn_rad=float(np.percentile(turns, USUAL)),
        horizon=max(1, learned.frames - 1 - CONTEXT),
        holds=holds,
        cameras=cameras,
    )
    return facts, told


def _known(model: ArmModel, episodes: ArmEpisodes, learned: bool = False) -> Grips | None:
    """The grips whose outcome is known; None where there are none, or all ended alike."""
    try:
        grips = grips_of(model, episodes, learned)
    except ValueError:
        return None
    known = grips.outcome_KL[grips.outcome_KL != UNKNOWN]
    return grips if (known == HELD).any() and (known != HELD).any() else None


def _constant_loss(share: float, grips: Grips) -> float:
    """Of saying the same of every grip."""
    outcome = (grips.outcome_KL[grips.outcome_KL != UNKNOWN] == HELD).float()
    probability = torch.full_like(outcome, min(max(share, 1e-3), 1 - 1e-3))
    return float(torch.nn.functional.binary_cross_entropy(probability, outcome))
