"""Pedestrian forecasts against what people then did: `python -m experiments.pedestrians.report --data DIR`.

Protocol P2 of ETH/UCY: 8 steps of 0.4 s seen, 12 predicted, every window, leave one scene out, mean of the five scenes. One run makes all
rows, clean and with 5 cm jitter, baselines first; then simulated places, with and without scene latents; prints tables, then one JSON
line; draws the pictures.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from experiments.pedestrians.baselines import GaussianBaseline, SampledAngles, constant_velocity, kalman_filter, ridge_regression
from experiments.pedestrians.metrics import COLUMNS, Scores, confidence, score
from experiments.pedestrians.plots import draw_examples, draw_reliability, draw_scenes
from experiments.pedestrians.recordings import read_av2, thinned, windows_of, with_period, with_steps
from experiments.pedestrians.scene import COLUMNS as SCENE_COLUMNS
from experiments.pedestrians.scene import held_out, scene_rows, telling_instants
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.forecast.scene import BANDS, MODEL, latents_of
from jepa_ros.protocols import Forecaster, SceneLatents
from jepa_ros.training.forecaster.data import (
    RECORDINGS_OF_SCENE,
    SCENES,
    Recording,
    TrackTable,
    joined,
    read_recording,
    read_recordings,
    table_of,
)
from jepa_ros.training.forecaster.worlds import worlds
from jepa_ros.types import Tracks
from jepa_ros.weights import find_weights

NOISES_M = (0.0, 0.05)
LEARNED = "learned"
SHIPPED_BASELINE = "constant_velocity (20 modes)"
PERIODS_S = (0.1, 0.2, 0.4, 0.5)
SIDE_TABLE_EVERY = 10  # the tables of periods and short histories use every tenth instant
TRUE_RATE = "eth_true_rate/biwi_eth_interval6.txt"


def baselines(table: TrackTable) -> dict[str, Forecaster]:
    """The rows to beat, fitted where they need it on the training table of the fold."""
    return {
        "constant velocity": GaussianBaseline(constant_velocity, table),
        "constant velocity, sampled angles": SampledAngles(table),
        "Kalman filter": GaussianBaseline(kalman_filter(table), table),
        "ridge regression": GaussianBaseline(ridge_regression(table), table),
    }


def score_folds(recordings: dict[str, Recording], learned: dict[str, Forecaster]) -> dict[float, dict[str, list[Scores]]]:
    """Scores by noise, then row, then scene in the order of SCENES."""
    scores: dict[float, dict[str, list[Scores]]] = {noise: {} for noise in NOISES_M}
    for scene in tqdm(SCENES, desc="leave one scene out"):
        own = RECORDINGS_OF_SCENE[scene]
        training = joined([table_of(r, i, complete_only=True) for i, (name, r) in enumerate(recordings.items()) if name not in own])
        rows = baselines(training)
        for noise in NOISES_M:
            table = windows_of([recordings[name] for name in own], noise)
            for name, forecaster in rows.items():
                scores[noise].setdefault(name, []).append(score(forecaster, table, everybody=False))
            for name, forecaster in {SHIPPED_BASELINE: load_forecaster("constant_velocity"), LEARNED: learned[scene]}.items():
                scores[noise].setdefault(name, []).append(score(forecaster, table))
    return scores


def mean_of(scenes: Sequence[Scores]) -> dict[str, float]:
    """Mean over the scenes, each counting alike."""
    means = [scene.mean() for scene in scenes]
    return {name: round(float(np.mean([mean[name] for mean in means])), 4) for name in COLUMNS}


def side_tables(recordings: dict[str, Recording], learned: dict[str, Forecaster]) -> dict[str, dict[str, dict[str, float]]]:
    """Other periods and short histories, mean of the five scenes: learned against the shipped constant velocity."""
    straight = load_forecaster("constant_velocity")
    clean = {scene: windows_of([recordings[name] for name in RECORDINGS_OF_SCENE[scene]]) for scene in SCENES}
    noisy = {scene: windows_of([recordings[name] for name in RECORDINGS_OF_SCENE[scene]], 0.05) for scene in SCENES}
    tables: dict[str, dict[str, dict[str, float]]] = {}

    def row(title: str, make: Callable[[str], TrackTable], dt_s: float = 0.4) -> None:
        made = {scene: make(scene) for scene in SCENES}
        keep = {scene: thinned(clean[scene], SIDE_TABLE_EVERY) for scene in SCENES}
        tables[title] = {
            LEARNED: mean_of([score(learned[scene], made[scene], keep[scene], dt_s=dt_s) for scene in SCENES]),
            SHIPPED_BASELINE: mean_of([score(straight, made[scene], keep[scene], dt_s=dt_s) for scene in SCENES]),
        }

    for dt_s in PERIODS_S:
        row(f"period {dt_s} s", lambda scene, dt_s=dt_s: with_period(clean[scene], dt_s), dt_s)  # type: ignore[misc]
        row(f"period {dt_s} s, 5 cm", lambda scene, dt_s=dt_s: with_period(clean[scene], dt_s, 0.05), dt_s)  # type: ignore[misc]
    for steps in range(2, 9):
        row(f"{steps} steps seen", lambda scene, steps=steps: with_steps(clean[scene], steps))  # type: ignore[misc]
        row(f"{steps} steps seen, 5 cm", lambda scene, steps=steps: with_steps(noisy[scene], steps))  # type: ignore[misc]
    return tables


def elsewhere(data: Path, av2: Path | None, learned: dict[str, Forecaster]) -> dict[str, dict[str, dict[str, float]]]:
    """The eth recording at its true rate (fold eth), and pedestrians seen from a moving car (default forecaster, never trained on)."""
    cases: dict[str, tuple[list[Recording], Forecaster]] = {}
    if (data / TRUE_RATE).is_file():
        cases["eth at its true rate"] = ([read_recording(data / TRUE_RATE, "biwi_eth_true_rate")], learned["eth"])
    if av2 is not None:
        cases["Argoverse 2 pedestrians"] = (read_av2(av2), load_forecaster())
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for title, (recordings, forecaster) in cases.items():
        for noise in NOISES_M:
            table = windows_of(recordings, noise)
            rows = {
                "constant velocity": score(GaussianBaseline(constant_velocity, table), table, everybody=False),
                SHIPPED_BASELINE: score(load_forecaster("constant_velocity"), table),
                LEARNED: score(forecaster, table),
            }
            tables[f"{title}{', 5 cm' if noise else ''}"] = {name: mean_of([scores]) for name, scores in rows.items()}
    return tables


def latency_ms(forecaster: Forecaster, people: int, scene: SceneLatents | None = None, repeats: int = 300) -> dict[str, float]:
    """Median and 99th percentile of predict() on one core, people walking about a square of 20 m.

    `cpu_*` is the time that the core worked on it: what the wall clock shows where nothing else runs.
    """
    rng = np.random.default_rng(people)
    start, velocity = rng.uniform(-10, 10, (people, 1, 2)), rng.normal(0, 0.4, (people, 1, 2))
    tracks = Tracks(start + velocity * np.arange(8)[:, None], np.ones((people, 8), bool), 0.4)
    wall, cpu = [], []
    for _ in range(repeats + 20):
        begin, begin_cpu = time.perf_counter(), time.thread_time()
        forecaster.predict(tracks, scene)
        cpu.append(1e3 * (time.thread_time() - begin_cpu))
        wall.append(1e3 * (time.perf_counter() - begin))
    figures = {"p50": wall, "p99": wall, "cpu_p50": cpu, "cpu_p99": cpu}
    return {name: round(float(np.percentile(times[20:], int(name[-2:]))), 2) for name, times in figures.items()}


def print_table(title: str, rows: dict[str, dict[str, float]], columns: Sequence[str] = tuple(COLUMNS)) -> None:
    """Markdown, ready for the report."""
    print(f"\n**{title}**\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{values[column]:.3f}' for column in columns)} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Run everything; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with splits.json and the recordings of ETH/UCY")
    parser.add_argument("--av2", type=Path, help="folder of Argoverse 2 logs, to evaluate on only")
    parser.add_argument("--weights", type=Path, help="folder of SCENE.safetensors; default: the shipped leave-one-out forecasters")
    parser.add_argument("--worlds", type=int, default=20, help="simulated places for the scene latents, some 4 s each; 0 = none")
    parser.add_argument("--cache", type=Path, help="folder that keeps the simulated places; default: none is kept")
    parser.add_argument("--pictures", type=Path, help="folder for the reliability diagram and the examples")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    recordings = read_recordings(args.data)
    folder = args.weights or find_weights("eth_ucy_loo/eth.safetensors").parent
    learned = {scene: load_forecaster(folder / f"{scene}.safetensors") for scene in SCENES}

    scores = score_folds(recordings, learned)
    means = {noise: {name: mean_of(scenes) for name, scenes in rows.items()} for noise, rows in scores.items()}
    intervals = {noise: confidence(rows[LEARNED]) for noise, rows in scores.items()}
    by_scene = {noise: {s: rows[LEARNED][i].mean() for i, s in enumerate(SCENES)} for noise, rows in scores.items()}
    for noise in NOISES_M:
        kind = f"{100 * noise:g} cm jitter" if noise else "clean"
        print_table(f"Mean of the five scenes, {kind}", means[noise])
        print_table(f"Learned, by scene, {kind}", by_scene[noise])
        print("95 % interval: " + ", ".join(f"{name} {low:.3f}-{high:.3f}" for name, (low, high) in intervals[noise].items()))
    sides = side_tables(recordings, learned)
    short = ("ade", "fde", "mode_ade", "mode_fde", "nll", "cover50", "cover90")
    for name in (LEARNED, SHIPPED_BASELINE):
        print_table(f"Other periods and short histories: {name}", {title: rows[name] for title, rows in sides.items()}, short)
    others = elsewhere(args.data, args.av2, learned)
    for title, rows in others.items():
        print_table(title, rows)
    scenes: dict[str, dict[str, float]] = {}
    facts: dict[str, float] = {}
    if args.worlds:
        with tempfile.TemporaryDirectory() as scratch:
            places = worlds(args.cache or Path(scratch), held_out(args.worlds))
        scenes, facts = scene_rows(places, load_forecaster("scene"))
        if args.pictures is not None:
            draw_scenes(
                telling_instants(places, load_forecaster("scene"), 4), load_forecaster("scene"), args.pictures / "pedestrians_scenes.png"
            )
        print_table(f"Scene latents, {args.worlds} simulated places never trained on", scenes, SCENE_COLUMNS)
        print("\n" + ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
    cluttered = SceneLatents(latents_of((torch.rand(BEV_GRID.rows, BEV_GRID.columns, BANDS) < 0.05).float()), np.eye(4), MODEL)
    latency = {
        f"{people}{', scene latents' if scene else ''}": latency_ms(load_forecaster("scene"), people, scene)
        for scene in (None, cluttered)
        for people in (1, 20, 100, 200)
    }
    print("\nLatency of the default on one core, ms: " + json.dumps(latency))
    if args.pictures is not None:
        draw_reliability(scores_ranks(scores), args.pictures / "pedestrians_reliability.png")
        draw_examples(recordings, learned, args.pictures / "pedestrians_examples.png")
    result = {
        "machine": platform.machine(),
        "windows": {s: len(scores[0.0][LEARNED][i].cluster) for i, s in enumerate(SCENES)},
        "mean": {str(noise): rows for noise, rows in means.items()},
        "interval_95": {str(noise): values for noise, values in intervals.items()},
        "by_scene": {str(noise): rows for noise, rows in by_scene.items()},
        "periods_and_histories": sides,
        "elsewhere": others,
        "scene_latents": {"rows": scenes, **facts},
        "latency_ms": latency,
    }
    print(json.dumps(result))


def scores_ranks(scores: dict[float, dict[str, list[Scores]]]) -> dict[float, dict[str, np.ndarray]]:
    """Ranks of the truth, by noise and scene, of the learned forecaster."""
    return {noise: {scene: rows[LEARNED][i].ranks for i, scene in enumerate(SCENES)} for noise, rows in scores.items()}


if __name__ == "__main__":
    main()
