"""Forecasts with and without scene latents, in simulated places that no training has seen: walls, poles, furniture and parked cars.

Axes: N scored person and instant, K mode, H future step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.bench.pedestrians_metrics import Scores, score
from jepa_ros.forecast.history import HISTORY, HORIZON, STEP_S
from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.protocols import Forecaster, SceneLatents
from jepa_ros.sim.worlds import PLACES
from jepa_ros.training.forecaster_data import TrackTable, joined
from jepa_ros.training.forecaster_worlds import World
from jepa_ros.types import FloatArray, Tracks

FIRST_SEED = 20_200  # of the range for testing; see jepa_ros.sim
SPACING_M = 0.1  # at which paths are looked at
COLUMNS = ("ade", "fde", "mode_ade", "mode_fde", "nll", "cover50", "cover90", "through", "mass_through")


def held_out(count: int) -> list[tuple[str, int]]:
    """`count` places, all kinds in turn; no training set holds a square."""
    names = list(PLACES)
    return [(names[index % len(names)], FIRST_SEED + index) for index in range(count)]


def through_obstacles(world: World, start_m: FloatArray, paths_m: FloatArray) -> FloatArray:
    """(...,) 1.0 where a path (..., H, 2) from (..., 2) goes through an occupied cell of the world's map."""
    corners = np.concatenate((start_m[..., None, :], paths_m), axis=-2)
    longest = np.linalg.norm(np.diff(corners, axis=-2), axis=-1).max(initial=0.0)
    share = np.arange(1, max(2, int(np.ceil(longest / SPACING_M))) + 1) / max(2, int(np.ceil(longest / SPACING_M)))
    between = corners[..., :-1, None, :] + share[:, None] * np.diff(corners, axis=-2)[..., None, :]
    return (world.distance_m(between) <= 0).any(axis=(-1, -2)).astype(float)


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
    truth = [
        through_obstacles(
            places[source], table.history_m[keep & (table.source == source), -1], table.future_m[keep & (table.source == source)]
        )
        for source in range(len(places))
    ]
    alone, scene = (scores[f"learned, {name}"].columns["fde"] for name in ("tracks alone", "scene latents"))
    low, high = _interval_of_gain(alone - scene, table.source[keep])
    facts = {"windows": float(keep.sum()), "truth_through": float(np.concatenate(truth).mean()), "fde_gain_low": low, "fde_gain_high": high}
    return {title: {name: round(values[name], 4) for name in COLUMNS} for title, values in rows.items()}, facts


def telling_instants(places: list[World], learned: Forecaster, count: int, every: int = 6) -> list[tuple[World, int]]:
    """Of `count` places the instants at which most people are led through obstacles where tracks are all that is known."""
    found = []
    for place in places:
        table = place.table(0)
        for instant in range(HISTORY, len(place.poses) - HORIZON, every):
            rows = np.flatnonzero(table.instant == instant)
            if len(rows):
                paths = learned.predict(Tracks(table.history_m[rows].astype(float), table.seen[rows], STEP_S)).most_likely()
                found.append((through_obstacles(place, table.history_m[rows, -1], paths).sum(), place, instant))
    found.sort(key=lambda one: -one[0])
    best = {place.name: (place, instant) for _, place, instant in reversed(found)}
    return [best[name] for name in dict.fromkeys(place.name for _, place, _ in found)][:count]


def _through(places: list[World], table: TrackTable, keep: np.ndarray, scores: Scores) -> dict[str, float]:
    """Shares of most likely paths, and of the probability of all modes, that go through obstacles."""
    rows, at = np.flatnonzero(keep), 0
    single, mass = [], []
    for forecast in scores.forecasts:
        own = rows[at : at + len(forecast.probabilities)]
        at += len(own)
        world, start = places[table.source[own[0]]], table.history_m[own, -1]
        crossing = through_obstacles(world, np.broadcast_to(start[:, None], (*forecast.probabilities.shape, 2)), forecast.modes_m)
        single.append(crossing[np.arange(len(own)), forecast.probabilities.argmax(axis=1)])
        mass.append((crossing * forecast.probabilities).sum(axis=1))
    return {"through": float(np.concatenate(single).mean()), "mass_through": float(np.concatenate(mass).mean())}


def _interval_of_gain(gain: FloatArray, place: np.ndarray, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean gain, places drawn again."""
    rng = np.random.default_rng(0)
    sums, counts = np.bincount(place, gain), np.bincount(place)
    drawn = rng.integers(0, len(counts), (draws, len(counts)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
