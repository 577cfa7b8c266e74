"""`adapt`: minutes of training on one's own recordings, without labels; the targets are what the recordings show later.

The first part of each bag is learned from, the last part only judged on: it ends the training, chooses how much of what was learned is
kept, and says in the report whether that is better. What is not better is not written. A run that was stopped goes on when the same
command is given again.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_ros.backends.scene_jepa.critic import CriticNetwork, SceneCritic, critic_path, fingerprint, save_critic
from jepa_ros.backends.scene_jepa.model import WEIGHTS, SceneJepa, load, save
from jepa_ros.config import load as load_config
from jepa_ros.training.adapt import critic, examples, learn, picture
from jepa_ros.training.adapt.config import AdaptConfig
from jepa_ros.training.adapt.judge import judge
from jepa_ros.training.adapt.others import worlds
from jepa_ros.training.adapt.report import Judged, Report
from jepa_ros.training.adapt.split import Split, split
from jepa_ros.training.world_model.dataset import prepare
from jepa_ros.training.world_model.shard import Shard, open_shards

NOT_BETTER = 1  # exit code
STOPPED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bag folders, .mcap or .db3 files, with a lidar and odometry")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and report; a run that was stopped goes on from it")
    parser.add_argument("--weights", type=Path, help="scene_jepa weights to begin with; default: the shipped ones")
    parser.add_argument("--config", type=Path, help="YAML file of AdaptConfig fields (jepa_ros/training/adapt/config.py)")
    parser.add_argument("--held-out", type=float, help="share of each bag, its end, that is only judged on (default: 0.3)")
    parser.add_argument("--part", type=float, nargs=2, help="share of each bag that is used at all, such as 0 0.5 for the first half")
    parser.add_argument("--others", type=int, help="simulated worlds that show what is forgotten (default: 2; 0 = none)")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options. Ends with exit code 1 where nothing better was found, 130 where it was stopped."""
    config = load_config(AdaptConfig, args.config) if args.config else AdaptConfig()
    given: dict[str, Any] = {name: getattr(args, name) for name in ("held_out", "others") if getattr(args, name) is not None}
    if args.part is not None:
        given["part"] = tuple(args.part)
    config = dataclasses.replace(config, **given)
    try:
        report = adapt(args.bags, args.out, config, args.weights)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from {args.out}")
        raise SystemExit(STOPPED) from None
    print(f"\n{report.text()}\n\n{args.out / 'report.png'}, report.txt, report.json")
    if report.objections:
        raise SystemExit(NOT_BETTER)
    print(f"pipeline.weights: {args.out / WEIGHTS}")


@dataclass(frozen=True)
class Material:
    """All that a run learns from and judges on."""

    parts: Split
    learn: Path  # folder of stored batches
    held: list[Path]
    others: list[Path]
    other_shards: list[Shard]


def adapt(bags: list[Path], out: Path, config: AdaptConfig, weights: Path | None = None) -> Report:
    """Leaves `out`/report.{txt,json,png} and, where they are better, `out`/scene_jepa.safetensors with its critic. Raises ValueError where
    the bags are too short, or `out` holds a run of other bags, options or weights."""
    started = time.process_time(), time.monotonic()
    parent = load("cpu", weights)
    _claim(out, bags, config, parent)
    material = gather(parent, bags, out, config)
    model = copy.deepcopy(parent)
    course = learn.learn(model, material.learn, material.held, out / "checkpoint.pt", config)
    share, shares = learn.best_mixture(model, parent.state_dict(), course, material.held, material.others, config)
    before, after, network, said = _judged(parent, model, material, config)
    report = Report(
        parent={"file": parent.weights.name if parent.weights else "", "version": parent.spec.version, "fingerprint": fingerprint(parent)},
        before=before,
        after=after,
        share=share,
        shares=shares,
        looks=course.looks,
        critic=said,
        frames={"learn": sum(map(len, material.parts.learn)), "held": sum(map(len, material.parts.held))},
        seconds={"processor time": round(time.process_time() - started[0], 1), "the clock": round(time.monotonic() - started[1], 1)},
    )
    maps = picture.example({"before": parent, "after": model}, material.held, parent.spec.dt_s)
    _write(out, report, maps, model, network, config, bags)
    for folder in ("learn", "held", "other"):  # gigabytes, of no use any more
        shutil.rmtree(out / folder, ignore_errors=True)
    return report


def _claim(out: Path, bags: list[Path], config: AdaptConfig, parent: SceneJepa) -> None:
    """One folder is one run."""
    out.mkdir(parents=True, exist_ok=True)
    this = {"bags": [str(bag.absolute()) for bag in bags], "config": dataclasses.asdict(config), "parent": fingerprint(parent)}
    this = json.loads(json.dumps(this))
    file = out / "run.json"
    if file.is_file() and json.loads(file.read_text()) != this:
        raise ValueError(f"{out} holds a run of other bags, options or weights; choose another --out, or remove it")
    file.write_text(json.dumps(this, indent=1))
    for name in (WEIGHTS, critic_path(Path(WEIGHTS)).name):  # of an earlier end: it is found anew, or not at all
        (out / name).unlink(missing_ok=True)


def gather(model: SceneJepa, bags: list[Path], out: Path, config: AdaptConfig) -> Material:
    """Prepares, splits, encodes and stores, as far as `out` does not hold it."""
    by_bag = prepare(bags, out / "data")["by_bag"]
    for bag, counts in by_bag.items():
        if not counts.get("kept"):
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "no frame"
            raise ValueError(f"{bag} has no frame with lidar and odometry to learn from: {reasons}")
    asked = set(by_bag)
    parts = split([shard for shard in open_shards(out / "data") if shard.source in asked], config.held_out, config.part)
    examples.store(model, examples.to_learn(model, parts.learn, config), list(range(config.stored)), out / "learn", "store")
    judged = examples.to_judge(model, parts.held, config)
    held = examples.store(model, judged, examples.spread_out(len(judged), config.judged), out / "held", "store held out")
    other_shards = worlds(out / "worlds", config.others)
    others: list[Path] = []
    if other_shards:
        elsewhere = examples.to_judge(model, other_shards, config)
        others = examples.store(model, elsewhere, examples.spread_out(len(elsewhere), config.judged // 2), out / "other", "store others")
    return Material(parts, out / "learn", held, others, other_shards)


def _judged(
    parent: SceneJepa, model: SceneJepa, material: Material, config: AdaptConfig
) -> tuple[Judged, Judged, CriticNetwork | None, str]:
    """Both sets of weights, the critic for the adapted ones, and how it was come by."""
    scores = [judge(weights, material.held) for weights in (parent, model)]
    elsewhere = [judge(weights, material.others) if material.others else None for weights in (parent, model)]
    found = parent.critic()
    if not isinstance(found, SceneCritic):
        none = "none, since the weights begun with have none; fit one: `python -m jepa_ros.training surprise BAG... --weights FILE`"
        return Judged(scores[0], elsewhere[0]), Judged(scores[1], elsewhere[1]), None, none
    streams = [critic.stream(parent, shards) for shards in (material.parts.learn, material.parts.held, material.other_shards)]
    learned, held, others = (critic.predicted(parent, instants) for instants in streams)
    before = critic.judge(found.network, learned, held), critic.judge(found.network, [], others) if others else None
    learned, held, others = (critic.predicted(model, instants) for instants in streams)
    after = critic.fit_on(found.network, learned, held, others, config.critic_steps, config.seed)
    return Judged(scores[0], elsewhere[0], *before), Judged(scores[1], elsewhere[1], after.held, after.others), after.network, after.said


def _write(
    out: Path, report: Report, maps: picture.Maps, model: SceneJepa, network: CriticNetwork | None, config: AdaptConfig, bags: list[Path]
) -> None:
    """Report, picture and, where they are better, weights; these last and whole or not at all."""
    (out / "report.txt").write_text(report.text() + "\n")
    (out / "report.json").write_text(json.dumps(report.as_dict(), indent=1))
    picture.draw(report, maps, out / "report.png")
    if report.objections:
        return
    about = {
        "adapted_from": report.parent,
        "bags": [bag.name for bag in bags],
        "config": dataclasses.asdict(config),
        "share": report.share,
        "before": report.before.held.summary(),
        "after": report.after.held.summary(),
        "others_before": report.before.others.summary() if report.before.others else None,
        "others_after": report.after.others.summary() if report.after.others else None,
        "forgotten": report.forgotten,
    }
    model.requires_grad_(False)
    if network is not None:
        save_critic(network, model, critic_path(out / WEIGHTS), {"adapted": report.critic})
    partial = out / f"{WEIGHTS}.partial"
    save(model, partial, f"{report.parent['version']}-adapted", about)
    os.replace(partial, out / WEIGHTS)
    assert fingerprint(load("cpu", out / WEIGHTS)) == fingerprint(model)
