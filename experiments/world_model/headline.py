"""The figures by which a world model is judged, under one name each: the bench's JSON line begins with them.

`moving`, `occupancy`: what the node publishes, on bags at a lidar's rate; `moving_share`: what is published less what stands.
`learned_vs_stated`: the model with its learned channels and without. `camera_vs_lidar`: each sensor alone. `interaction_auroc`: people who
react to the ego against those who do not. What a run did not measure is None.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.world_model import prediction
from experiments.world_model.occupancy.movers import Judge
from experiments.world_model.table import Section, table
from experiments.world_model.worlds import boxes_by_stamp
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.world_model.shard import Shard

PUBLISHED, LEARNED = "Published occupancy", "Learned channels"
EVERY = 2  # each so many-th sweep is judged
TIMES_S = ("0.4s", "1.2s", "2.4s", "4.8s")
_COMPARED = ("average_precision", "iou", "entered")  # entered cells: at flow's rate of false positives


def published(worlds: list[Path], recordings: list[Path], weights: str) -> Section:
    """Occupancy as the node publishes it, of simulated worlds together and of each recording. weights: empty = the shipped ones."""
    section = Section(PUBLISHED)
    for name, bags in {"simulated": worlds, **{f"{bag.parent.name}/{bag.name}": [bag] for bag in recordings}}.items():
        if not bags:
            continue
        judge = Judge("", weights)
        for bag in bags:
            judge.watch(bag, boxes_by_stamp(bag), EVERY)
        section.figures[name] = judge.figures()
        section.text += [f"{name}:", judge.table()]
    return section


def learned(model: SceneJepa, shards: list[Shard], every: int) -> Section:
    """The same windows with the learned channels of every latent, and with zeros in their place."""
    stated = copy.deepcopy(model)
    stated.encoder.register_forward_hook(_without_learned)
    section, rows = Section(LEARNED), []
    found = {}
    for name, one in (("learned", model), ("stated", stated)):
        result, seen = prediction.measure(one, shards, "both", every)
        found[name] = prediction.prediction_section(name, result, seen).figures["by_time"]
        for time_s in TIMES_S:
            entered = seen.counts["model"].entered_beside(seen.time(float(time_s[:-1])), seen.counts["flow"])
            found[name][time_s]["entered"] = {"model": entered}
    for time_s in TIMES_S:
        of = {name: {metric: by_time[time_s][metric]["model"] for metric in _COMPARED} for name, by_time in found.items()}
        section.figures[time_s] = of
        rows.append([time_s, *(of[name][metric] for metric in _COMPARED for name in ("learned", "stated"))])
    section.text.append("Nothing is trained anew for the model without: it misses what it was used to.")
    section.text.append(table(("time", "AP", "AP without", "IoU", "IoU without", "entered", "entered without"), rows))
    return section


def _without_learned(encoder: nn.Module, inputs: Any, latents_BDYX: Tensor) -> Tensor:
    grounded = encoder.grounded
    assert isinstance(grounded, int)
    return torch.cat([latents_BDYX[:, :grounded], torch.zeros_like(latents_BDYX[:, grounded:])], dim=1)


def headline(sections: list[Section]) -> dict[str, Any]:
    """Taken from the sections that were measured."""
    of = {section.title: section.figures for section in sections}
    simulated = of.get(PUBLISHED, {}).get("simulated")
    alone = {
        sensor: of[title]["by_time"]
        for sensor, title in (("camera", "Simulated worlds, camera alone"), ("lidar", "Simulated worlds, lidar alone"))
        if title in of
    }
    return {
        "moving": simulated
        and {time_s: {key: simulated[time_s][method]["entered"] for key, method in _MOVING.items()} for time_s in ("0.4", "1.2", "2.4")},
        "interaction_auroc": of.get("Interaction", {}).get("auroc"),
        "learned_vs_stated": of.get(LEARNED),
        "occupancy": of.get(PUBLISHED),
        "camera_vs_lidar": {
            time_s: {sensor: by_time[time_s]["average_precision"]["model"] for sensor, by_time in alone.items()} for time_s in TIMES_S
        }
        if alone
        else None,
    }


_MOVING = {"model": "fusion", "moving_share": "its moving share", "flow": "flow", "persistence": "persistence"}


def as_json(report: dict[str, Any]) -> str:
    """One line; what is not a number is null."""
    return json.dumps(_finite(report), default=float)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value != value else value
