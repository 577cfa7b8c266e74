"""What can be read off the latents by a line: ego speed and the distance of the nearest person, against the same probe on raw inputs.

The same pooling and the same ridge regression for both; worlds that are judged are never fitted on. N sample, F feature, R ring.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from experiments.world_model.table import Row, Section, table
from jepa_ros.backends.scene_jepa.encoder import SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.detection_score import VISIBLE_RETURNS, returns_on, truth_from_markers
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.shard import Shard
from jepa_ros.training.world_model.windows import Windows, WindowSpec, collate
from jepa_ros.types import NANOSECONDS, FloatArray

RINGS_M = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 25.6)
FARTHEST_M = 25.0  # where nobody is nearer
PENALTIES = 10.0 ** np.arange(0, 6)


@torch.inference_mode()
def section(model: SceneJepa, shards: list[Shard], every: int) -> Section:
    """R^2 on worlds that the probe was not fitted on."""
    result = Section("Linear probes")
    spec = WindowSpec(model.spec.history, 1, model.spec.dt_s, 1, max(len(shard.cameras) for shard in shards))
    windows = Windows(shards, spec, 0, 1, fixed=Augmentation())
    features: dict[str, list[FloatArray]] = {"latents": [], "raw inputs": []}
    targets, worlds = [], []
    people = {shard.source: truth_from_markers(Path(shard.source)) for shard in shards}
    for number in tqdm(range(0, len(windows), every), desc="probes", unit="window"):
        shard, now = windows.anchors[number]
        target = _targets(shards[shard], now, people[shards[shard].source])
        if target is None:
            continue
        batch = collate([windows[number]])
        latents = model.encoder(SceneInput(*(getattr(batch.history, name)[0, -2:] for name in SceneInput.__dataclass_fields__)))
        images = batch.history.images_BKCHW[0, -2:].flatten(1, 2)
        features["latents"].append(_pooled(latents))
        features["raw inputs"].append(np.concatenate([_pooled(batch.history.pillars_BCYX[0, -2:]), _pooled_image(images)]))
        targets.append(target)
        worlds.append(shard)
    groups, wanted = np.array(worlds), np.array(targets)
    rows = []
    for column, name in enumerate(("ego speed", "distance of the nearest person")):
        scores = {kind: r_squared(np.stack(values), wanted[:, column], groups) for kind, values in features.items()}
        result.figures[name] = scores
        rows.append([name, *scores.values(), float(wanted[:, column].std())])
        reached = f"R2 {scores['latents']:.2f}, raw {scores['raw inputs']:.2f}"
        result.rows.append(Row(f"Probe: {name}", "better than from raw pooled inputs", reached, scores["latents"] > scores["raw inputs"]))
    result.text.append(
        f"R2 on held-out worlds, {len(groups)} instants of {len(set(worlds))} worlds. Pooled: mean and maximum of each channel over "
        "eight rings around the vehicle, and how much the channel changed since 0.4 s ago; ridge regression, its penalty chosen on the "
        "fitted worlds."
    )
    result.text.append(table(("", *features, "standard deviation"), rows))
    return result


def r_squared(features_NF: FloatArray, target_N: FloatArray, groups_N: NDArray[np.intp]) -> float:
    """Of predictions for each group by a ridge regression fitted on the others; below 0 = worse than the mean."""
    predicted = np.zeros(len(target_N))
    for group in np.unique(groups_N):
        fitted = groups_N != group
        errors = [_errors(features_NF[fitted], target_N[fitted], groups_N[fitted], penalty) for penalty in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        predicted[~fitted] = _ridge(features_NF[fitted], target_N[fitted], features_NF[~fitted], best)
    return float(1 - np.square(target_N - predicted).sum() / np.square(target_N - target_N.mean()).sum())


def _errors(features: FloatArray, target: FloatArray, groups: NDArray[np.intp], penalty: float) -> float:
    parts = [(groups != group, groups == group) for group in np.unique(groups)]
    return sum(float(np.square(target[t] - _ridge(features[f], target[f], features[t], penalty)).sum()) for f, t in parts)


def _ridge(features: FloatArray, target: FloatArray, asked: FloatArray, penalty: float) -> FloatArray:
    """Prediction for `asked`; in the dual form, since there are more features than samples."""
    mean, deviation, level = features.mean(axis=0), features.std(axis=0) + 1e-6, target.mean()
    x, y = (features - mean) / deviation, np.clip((asked - mean) / deviation, -5, 5)
    weights = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), target - level)
    return level + y @ (x.T @ weights)


def _targets(shard: Shard, now: int, people: dict) -> tuple[float, float] | None:
    """Ego speed, m/s, from the odometry, and the distance of the nearest person in sight, m."""
    frame = shard[now]
    truth = people.get(frame.stamp_ns)
    if now == 0 or truth is None:
        return None
    before = shard[now - 1]
    pose = frame.odom_from_anchor
    speed = np.linalg.norm(pose[:3, 3] - before.odom_from_anchor[:3, 3]) * NANOSECONDS / (frame.stamp_ns - before.stamp_ns)
    in_sight = returns_on(truth.positions_m, frame.points_m, pose, frame.ground_height_m) >= VISIBLE_RETURNS
    distance = np.hypot(*(truth.positions_m[in_sight] - pose[:2, 3]).T)
    return float(speed), float(min(distance.min(initial=FARTHEST_M), FARTHEST_M))


def _pooled(maps_2CYX: Tensor) -> FloatArray:
    """(F,) of the map before and the map now: mean and maximum of now in each ring, mean change in each ring."""
    before, now = maps_2CYX.float()
    side = now.shape[-1]
    at = (torch.arange(side) + 0.5) * (2 * RINGS_M[-1] / side) - RINGS_M[-1]
    ring = torch.bucketize(torch.hypot(at[:, None], at[None, :]), torch.tensor(RINGS_M[1:-1]))
    parts = []
    for r in range(len(RINGS_M) - 1):
        inside = ring == r
        parts += [now[:, inside].mean(dim=1), now[:, inside].amax(dim=1), (now - before)[:, inside].abs().mean(dim=1)]
    return torch.cat(parts).numpy()


def _pooled_image(images_2CHW: Tensor) -> FloatArray:
    """(F,) the same over a grid of 4 x 4 image parts."""
    if not images_2CHW.shape[1]:
        return np.zeros(0)
    before, now = images_2CHW
    pooled = [F.adaptive_avg_pool2d(now, 4), F.adaptive_max_pool2d(now, 4), F.adaptive_avg_pool2d((now - before).abs(), 4)]
    return torch.cat(pooled).flatten().numpy()
