"""Forecasts with and without scene latents, in simulated places that no training has seen: walls, poles, furniture and parked cars.

Axes: N scored person and instant, K mode, H future step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.pedestrians.metrics import Scores, score
from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.objects.time_steps import HISTORY, HORIZON, STEP_S
from jepa_ros.protocols import Forecaster, SceneLatents
from jepa_ros.sim.places.layout import Obstacles
from jepa_ros.sim.places.worlds import PLACES
from jepa_ros.training.forecaster.data import TrackTable, joined
from jepa_ros.training.forecaster.worlds import World
from jepa_ros.types import FloatArray, Tracks

FIRST_SEED = 20_200  # of the range for testing; see jepa_ros.sim
SPACING_M = 0.1  # at which paths are looked at for cells
COLUMNS = ("ade", "fde", "mode_ade", "mode_fde", "nll", "cover50", "cover90", "through", "cells")


def held_out(count: int) -> list[tuple[str, int]]:
    """`count` places, all kinds in turn; no training set holds a square."""
    names = [name for name in PLACES if name != "car_park"]  # which came later
    return [(names[index % len(names)], FIRST_SEED + index) for index in range(count)]


def through_obstacles(obstacles: Obstacles, start_m: FloatArray, paths_m: FloatArray) -> FloatArray:
    """(P,) 1.0 where a path (P, H, 2) from (P, 2) crosses a wall or an edge of furniture or a parked car, or meets a pole."""
    corners = np.concatenate((start_m[:, None], paths_m), axis=1)
    a, b = corners[:, :-1].reshape(-1, 1, 2), corners[:, 1:].reshape(-1, 1, 2)  # steps
    c, d = obstacles.segments_m[None, :, 0], obstacles.segments_m[None, :, 1]
    hit = ((_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)).any(axis=1)
    way = b - a
    share = ((obstacles.discs_m[None, :, :2] - a) * way).sum(axis=-1) / np.maximum(np.square(way).sum(axis=-1), 1e-12)
    nearest = a + np.clip(share, 0.0, 1.0)[..., None] * way
    hit |= (np.linalg.norm(nearest - obstacles.discs_m[None, :, :2], axis=-1) <= obstacles.discs_m[None, :, 2]).any(axis=1)
    return hit.reshape(len(paths_m), -1).any(axis=1).astype(float)


def _side(a: FloatArray, b: FloatArray, point: FloatArray) -> FloatArray:
    """On which side of the line from a to b a point lies."""
    u, v = b - a, point - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def through_cells(world: World, start_m: FloatArray, paths_m: FloatArray) -> FloatArray:
    """(P,) 1.0 where a path (P, H, 2) from (P, 2) touches an occupied cell of the world's map: up to a cell's width before the obstacle."""
    corners = np.concatenate((start_m[:, None], paths_m), axis=1)
    longest = np.linalg.norm(np.diff(corners, axis=1), axis=-1).max(initial=0.0)
    parts = max(2, int(np.ceil(longest / SPACING_M)))
    share = np.arange(1, parts + 1)[:, None] / parts
    between = corners[:, :-1, None] + share * np.diff(corners, axis=1)[:, :, None]
    return (world.distance_m(between) <= 0).any(axis=(1, 2)).astype(float)


def scene_rows(places: list[World], learned: Forecaster) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The table, tracks alone against scene latents; and how much is behind it: windows, the truth through obstacles, the gain in fde."""
    table = joined([place.table(source) for source, place in enumerate(places)])
    keep = (table.seen.sum(axis=1) >= 2) & table.known.all(axis=1)

    def elsewhere(source: int, instant: int) -> SceneLatents:
        """The latents of another place at the pose of this one: what is gained must come from the place itself."""
        other = places[(source + 1) % len(places)].scene(instant)
        return SceneLatents(other.latents_ND, places[source].poses[instant], other.model)

    cases: dict[str, tuple[Forecaster, Callable[[int, int], SceneLatents] | None]] = {
        "constant_velocity (20 modes)": (load_forecaster("constant_velocity"), None),
        "learned, tracks alone": (learned, None),
        "learned, scene latents": (learned, lambda source, instant: places[source].scene(instant)),
        "learned, latents of another place": (learned, elsewhere),
    }
    scores = {title: score(forecaster, table, keep, scene_at=scene_at) for title, (forecaster, scene_at) in cases.items()}
    rows = {title: {**one.mean(), **_through(places, table, keep, one)} for title, one in scores.items()}
    starts, futures = table.history_m[keep, -1].astype(np.float64), table.future_m[keep].astype(np.float64)
    own = [table.source[keep] == source for source in range(len(places))]
    truth = [
        through_obstacles(place.obstacles(), starts[rows], futures[rows]) for place, rows in zip(places, own, strict=True) if rows.any()
    ]
    alone, scene = (scores[f"learned, {name}"].columns["fde"] for name in ("tracks alone", "scene latents"))
    low, high = _interval_of_gain(alone - scene, table.source[keep])
    facts = {"windows": float(keep.sum()), "truth_through": float(np.concatenate(truth).mean()), "fde_gain_low": low, "fde_gain_high": high}
    return {title: {name: round(values[name], 4) for name in COLUMNS} for title, values in rows.items()}, facts


def telling_instants(places: list[World], learned: Forecaster, count: int, every: int = 6) -> list[tuple[World, int]]:
    """Of `count` places the instants at which most people are led through obstacles where tracks are all that is known."""
    found = []
    for place in places:
        table, obstacles = place.table(0), place.obstacles()
        for instant in range(HISTORY, len(place.poses) - HORIZON, every):
            rows = np.flatnonzero(table.instant == instant)
            if len(rows):
                paths = learned.predict(Tracks(table.history_m[rows].astype(float), table.seen[rows], STEP_S)).most_likely()
                hits = through_obstacles(obstacles, table.history_m[rows, -1].astype(np.float64), paths)
                found.append((hits.sum(), place, instant))
    found.sort(key=lambda one: -one[0])
    best = {place.name: (place, instant) for _, place, instant in reversed(found)}
    return [best[name] for name in dict.fromkeys(place.name for _, place, _ in found)][:count]


def _through(places: list[World], table: TrackTable, keep: np.ndarray, scores: Scores) -> dict[str, float]:
    """Shares of most likely paths that go through obstacles, and that touch an occupied cell."""
    obstacles = [place.obstacles() for place in places]
    rows, at = np.flatnonzero(keep), 0
    exact, cells = [], []
    for forecast in scores.forecasts:
        own = rows[at : at + len(forecast.probabilities)]
        at += len(own)
        source, start, paths = table.source[own[0]], table.history_m[own, -1].astype(np.float64), forecast.most_likely()
        exact.append(through_obstacles(obstacles[source], start, paths))
        cells.append(through_cells(places[source], start, paths))
    return {"through": float(np.concatenate(exact).mean()), "cells": float(np.concatenate(cells).mean())}


def _interval_of_gain(gain: FloatArray, place: np.ndarray, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean gain, places drawn again."""
    rng = np.random.default_rng(0)
    sums, counts = np.bincount(place, gain), np.bincount(place)
    drawn = rng.integers(0, len(counts), (draws, len(counts)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
