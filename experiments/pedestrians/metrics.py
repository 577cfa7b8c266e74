"""Scores of forecasts against what people then did.

Axes: N scored person and instant, P person, K mode, H future step, S sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.forecast.mixture import density_rank, log_density, path_errors
from jepa_ros.objects.time_steps import STEP_S
from jepa_ros.protocols import Forecaster, SceneLatents
from jepa_ros.training.forecaster.data import TrackTable
from jepa_ros.types import FloatArray, PedestrianForecast, Tracks

SAMPLES = 20
RANK_SAMPLES = 39  # with 39 draws a truth that is itself a draw lies in the estimated 50 % and 90 % regions 20 and 36 times of 40
MISS_M = 2.0
COLLISION_M = 0.2
COLUMNS = {
    "ade": "most likely path, mean error m",
    "fde": "most likely path, final error m",
    "mode_ade": "best of the modes",
    "mode_fde": "best of the modes",
    "sample_ade": "best of 20 independent samples",
    "sample_fde": "best of 20 independent samples",
    "scene_ade": "best of 20 samples of everybody at once",
    "scene_fde": "best of 20 samples of everybody at once",
    "miss": "most likely path ends more than 2 m off",
    "nll": "negative log-likelihood per step",
    "cover50": "truth in the 50 % highest-density region, per step",
    "cover90": "truth in the 90 % highest-density region, per step",
    "collision": "most likely path comes within 0.2 m of another's",
}


@dataclass
class Scores:
    """One row per scored person and instant; `columns` by the names of COLUMNS; `ranks` (N, H), see `density_rank`."""

    columns: dict[str, FloatArray]
    ranks: FloatArray
    cluster: np.ndarray  # (N,) the person, for confidence intervals
    forecasts: list[PedestrianForecast]  # one an instant, of the scored people

    def mean(self) -> dict[str, float]:
        return {name: float(values.mean()) for name, values in self.columns.items()}


@dataclass
class Instant:
    """The forecasts of the scored people of one instant, and what they then did (P, H, 2)."""

    forecast: PedestrianForecast
    truth: FloatArray


def instants(table: TrackTable) -> Iterator[np.ndarray]:
    """Rows of the table that belong to one instant of one recording."""
    change = np.flatnonzero((np.diff(table.source) != 0) | (np.diff(table.instant) != 0)) + 1
    yield from np.split(np.arange(len(table)), change)


def score(
    forecaster: Forecaster,
    table: TrackTable,
    keep: NDArray[np.bool_] | None = None,
    *,
    dt_s: float = STEP_S,
    everybody: bool = True,
    scene_at: Callable[[int, int], SceneLatents] | None = None,
    seed: int = 0,
) -> Scores:
    """Forecast every instant as a robot would, from everybody seen now, and score the rows in `keep` (default: protocol P2).

    `everybody=False`: only the scored people are given, for baselines that need a full history. `scene_at`: the surroundings of a source
    at an instant.
    """
    scored_rows = table.complete if keep is None else keep
    generator = torch.Generator().manual_seed(seed)
    batch: list[Instant] = []
    scored: list[Scores] = []
    clusters: list[np.ndarray] = []
    forecasts: list[PedestrianForecast] = []
    for rows in instants(table):
        wanted = scored_rows[rows]
        if not wanted.any():
            continue
        if not everybody:
            rows, wanted = rows[wanted], wanted[wanted]
        scene = scene_at(int(table.source[rows[0]]), int(table.instant[rows[0]])) if scene_at else None
        forecast = forecaster.predict(Tracks(table.history_m[rows].astype(np.float64), table.seen[rows], dt_s), scene)
        forecasts.append(_only(forecast, wanted))
        batch.append(Instant(forecasts[-1], table.future_m[rows[wanted]].astype(np.float64)))
        clusters.append(table.source[rows[wanted]] * 100_000 + table.person[rows[wanted]])
        if sum(len(one.truth) for one in batch) >= 400:
            scored.append(_score_batch(batch, np.concatenate(clusters), generator))
            batch, clusters = [], []
    if batch:
        scored.append(_score_batch(batch, np.concatenate(clusters), generator))
    return Scores(
        {name: np.concatenate([part.columns[name] for part in scored]) for name in COLUMNS},
        np.concatenate([part.ranks for part in scored]),
        np.concatenate([part.cluster for part in scored]),
        forecasts,
    )


def _only(forecast: PedestrianForecast, keep: np.ndarray) -> PedestrianForecast:
    return PedestrianForecast(forecast.modes_m[keep], forecast.probabilities[keep], forecast.covariances_m2[keep], forecast.times_s)


def _score_batch(batch: list[Instant], cluster: np.ndarray, generator: torch.Generator) -> Scores:
    origin = [one.truth[:, :1] for one in batch]  # float32 suffices near the people

    def tensor(values: list[FloatArray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(values).astype(np.float32))

    means = tensor([one.forecast.modes_m - o[:, None] for one, o in zip(batch, origin, strict=True)])
    truth = tensor([one.truth - o for one, o in zip(batch, origin, strict=True)])
    single = tensor([one.forecast.most_likely() - o for one, o in zip(batch, origin, strict=True)])
    covariances = tensor([one.forecast.covariances_m2 for one in batch])
    log_p = tensor([one.forecast.probabilities for one in batch]).clamp(min=1e-12).log()
    seeds = torch.randint(0, 2**31, (len(batch),), generator=generator).tolist()
    drawn = [one.forecast.sample(SAMPLES, seed) for one, seed in zip(batch, seeds, strict=True)]
    samples = tensor([paths - o[:, None] for paths, o in zip(drawn, origin, strict=True)])

    single_error = path_errors(single[:, None], truth)[:, 0]
    mode_error, sample_error = path_errors(means, truth), path_errors(samples, truth)
    scene = np.concatenate([_scene_best(part.numpy()) for part in sample_error.split([len(one.truth) for one in batch])])
    ranks = density_rank(truth, means, covariances, log_p, RANK_SAMPLES, generator)
    nll = -log_density(truth[:, None], means, covariances, log_p)[:, 0]
    columns = {
        "ade": single_error.mean(1),
        "fde": single_error[:, -1],
        "mode_ade": mode_error.mean(2).amin(1),
        "mode_fde": mode_error[..., -1].amin(1),
        "sample_ade": sample_error.mean(2).amin(1),
        "sample_fde": sample_error[..., -1].amin(1),
        "scene_ade": torch.from_numpy(scene[:, 0]),
        "scene_fde": torch.from_numpy(scene[:, 1]),
        "miss": (single_error[:, -1] > MISS_M).float(),
        "nll": nll.mean(1),
        "cover50": (ranks <= 0.5).float().mean(1),
        "cover90": (ranks <= 0.9).float().mean(1),
        "collision": torch.from_numpy(np.concatenate([collides(one.forecast.most_likely()) for one in batch])),
    }
    return Scores({name: values.double().numpy() for name, values in columns.items()}, ranks.numpy(), cluster, [])


def _scene_best(error: FloatArray) -> FloatArray:
    """(P, 2): ADE and FDE of each person in the joint sample that is best for all of them together, from errors (P, S, H)."""
    ade, fde = error.mean(axis=2), error[..., -1]
    return np.stack((ade[:, ade.mean(axis=0).argmin()], fde[:, fde.mean(axis=0).argmin()]), axis=1)


def collides(paths: FloatArray) -> FloatArray:
    """(P,) 1.0 where a path (P, H, 2) is within COLLISION_M of another's at the same step."""
    gap = paths[:, None] - paths[None]
    close = (np.square(gap).sum(axis=-1) < COLLISION_M**2) & ~np.eye(len(paths), dtype=bool)[..., None]
    return close.any(axis=(1, 2)).astype(float)


def confidence(scenes: list[Scores], draws: int = 500, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval of the mean over the scenes; people are drawn, not windows, because the windows of one person overlap."""
    rng = np.random.default_rng(seed)
    means = np.zeros((draws, len(COLUMNS)))
    for scene in scenes:
        _, cluster = np.unique(scene.cluster, return_inverse=True)
        people = int(cluster.max()) + 1
        sums = np.stack([np.bincount(cluster, scene.columns[name], people) for name in COLUMNS], axis=1)
        counts = np.bincount(cluster, minlength=people)
        weights = rng.multinomial(people, np.full(people, 1 / people), size=draws)
        means += (weights @ sums) / (weights @ counts)[:, None] / len(scenes)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(COLUMNS, low, high, strict=True)}
