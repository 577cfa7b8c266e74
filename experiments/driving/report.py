"""Driving through crowds, closed loop: python -m experiments.driving.report

Seeded places with people who give way and people from recordings who do not; the robot sees its lidar and odometry and nothing else. Every
method drives every episode. Finished episodes are kept in OUT/episodes.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from pathlib import Path

import torch
from tqdm import tqdm

from experiments.driving.drive import Outcome, Trace, drive
from experiments.driving.film_strip import draw_film
from experiments.driving.methods import METHODS, PATH_METHODS
from experiments.driving.table import report
from experiments.driving.worlds import DENSITIES, FIRST_SEED, Episode, episodes

Job = tuple[Episode, str]


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.driving.report", description=__doc__)
    parser.add_argument("--episodes", type=int, default=200, help="of each density (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the places (default: %(default)s)")
    parser.add_argument("--densities", nargs="+", choices=list(DENSITIES), default=list(DENSITIES))
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *PATH_METHODS), default=list(METHODS))
    parser.add_argument("--tracks", type=Path, help="folder of the ETH/UCY recordings: every sixth episode is then among recorded people")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes (default: %(default)s)")
    parser.add_argument("--films", type=int, default=5, help="film strips of this many episodes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/planning"))
    arguments = parser.parse_args(argv)
    if arguments.tracks is not None and not arguments.tracks.is_dir():
        parser.error(f"--tracks {arguments.tracks} is no folder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "episodes.jsonl"
    wanted = [
        (episode, method)
        for group in zip(
            *(episodes(arguments.episodes, density, arguments.tracks, arguments.first_seed) for density in arguments.densities), strict=True
        )
        for episode in group
        for method in arguments.methods
    ]
    done = load(kept)
    missing = [(episode, method) for episode, method in wanted if (episode.name, method) not in done]
    with kept.open("a") as file:
        for outcome in run(missing, arguments.tracks, arguments.jobs):
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            done[Episode(outcome.place, outcome.density, outcome.seed).name, outcome.method] = outcome
    outcomes = [done[episode.name, method] for episode, method in wanted]
    text = report(outcomes, arguments.densities, arguments.methods)
    (arguments.out / "planning.md").write_text(text)
    print(text)
    for episode in films(outcomes, arguments.films):
        traces = {method: Trace() for method in ("constant velocity", "jepa_ros")}
        results = {method: drive(episode, method, arguments.tracks, trace) for method, trace in traces.items()}
        draw_film(episode, arguments.tracks, traces, results, arguments.out / f"{episode.name}.png")


def load(path: Path) -> dict[tuple[str, str], Outcome]:
    """The episodes that are done; a last line that was cut off is run again.

    Raises ValueError where they were measured otherwise, by another version of this bench.
    """
    done, columns = {}, {column.name for column in fields(Outcome)}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if set(values) != columns:
            raise ValueError(f"{path} is of another version of this bench ({sorted(set(values) ^ columns)}); give another --out")
        outcome = Outcome(**{**values, "at_fault_with": tuple(values["at_fault_with"])})
        done[Episode(outcome.place, outcome.density, outcome.seed).name, outcome.method] = outcome
    return done


def run(jobs: list[Job], tracks: Path | None, processes: int) -> Iterator[Outcome]:
    """Drives all jobs in `processes` processes; yields each outcome as it comes."""
    with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(drive, episode, method, tracks) for episode, method in jobs]
        for future in tqdm(as_completed(futures), total=len(futures), desc="episodes", unit="drive"):
            yield future.result()


def films(outcomes: list[Outcome], count: int) -> list[Episode]:
    """Episodes worth a look: where the learned forecasts failed first, then the closest calls."""
    ours = [outcome for outcome in outcomes if outcome.method == "jepa_ros"]
    ours.sort(key=lambda outcome: (outcome.success, outcome.nearest_m))
    return [Episode(outcome.place, outcome.density, outcome.seed) for outcome in ours[:count]]


if __name__ == "__main__":
    main()
