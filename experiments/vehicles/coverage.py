"""Do the published regions hold what they promise, with and without the online correction? `python -m experiments.vehicles.coverage`.

--people DIR      ETH/UCY: each recording as a stream, by the forecaster that never saw it and by constant velocity
--traffic 8       simulated streets and crossings, one after the other as one stream: boxes with the noise of a detector, tracked and
                  forecast; vehicles and cyclists. As forecasters learned it, and in a shifted world

Prints one JSON line for each stream: coverage of the 50 and 90 % regions over its second half.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jepa_ros.forecast.conformal import Correction, CorrectionConfig
from jepa_ros.forecast.loading import load_forecaster, load_traffic_forecaster
from jepa_ros.protocols import Forecaster, ForecastsCyclists, TrafficForecaster
from jepa_ros.training.forecaster.data import read_recordings
from jepa_ros.training.traffic.streams import World, watch
from jepa_ros.types import NANOSECONDS, EgoState, OccupancyForecast, PedestrianForecast, SceneState, TrackedPeople, Tracks
from jepa_ros.weights import find_weights

HISTORY, DT_S = 8, 0.4
NOBODY = Tracks(np.zeros((0, HISTORY, 2)), np.zeros((0, HISTORY), bool), DT_S)
IDS = 1_000_000  # of the objects of a world
PAUSE_S = 10.0  # between two worlds: longer than any forecast
SHIFTS = ((2.0, 1.0), (4.0, 1.5))  # traffic, speed: as forecasters learned it, and a shifted world


def state_of(stamp_s: float, people: Tracks, ids: np.ndarray, forecast: PedestrianForecast) -> SceneState:
    """A state with these people alone."""
    stamp_ns, count = NANOSECONDS + round(stamp_s * NANOSECONDS), len(ids)
    step = (people.positions_m[:, -1] - people.positions_m[:, -2]) * people.valid[:, -2, None] / DT_S
    tracked = TrackedPeople(ids, people.positions_m[:, -1], step, np.ones(count), np.full(count, 0.3), people)
    return SceneState(
        stamp_ns=stamp_ns,
        anchor_pose=np.eye(4),
        ego=EgoState(stamp_ns, np.eye(4), np.zeros(2)),
        latent=np.zeros((1, 1)),
        predicted=np.zeros((1, 1, 1)),
        occupancy=OccupancyForecast(np.zeros((1, 0, 0), np.float32), np.zeros(1), 1.0, (0.0, 0.0)),
        people=tracked,
        pedestrians=forecast,
        surprise=0.0,
    )


def crowd(positions_m: np.ndarray, present: np.ndarray, forecaster: Forecaster, limit: int) -> Iterator[SceneState]:
    """A recording, frame by frame."""
    for frame in range(HISTORY, min(len(present), limit)):
        here = np.flatnonzero(present[frame])
        window = slice(frame - HISTORY + 1, frame + 1)
        tracks = Tracks(positions_m[window, here].transpose(1, 0, 2).astype(float), present[window, here].T, DT_S)
        yield state_of(frame * DT_S, tracks, here, forecaster.predict(tracks))


def traffic(worlds: Sequence[World], forecaster: TrafficForecaster) -> Iterator[SceneState]:
    """Simulated cars, cyclists and people, as trackers see them, of one world after the other."""
    walking = load_forecaster()
    begin_ns = NANOSECONDS
    for number, world in enumerate(worlds):
        for moment in watch(world):
            stamp_ns = begin_ns + round(moment.time_s * NANOSECONDS)
            people = walking.predict(moment.people.history)
            if isinstance(forecaster, ForecastsCyclists):
                boxes, people = forecaster.predict_with_cyclists(moment.vehicles, moment.people, people, moment.ego)
            else:
                boxes = forecaster.predict(moment.vehicles, moment.people, moment.ego)
            state = state_of(moment.time_s, NOBODY, np.zeros(0, np.int64), people)
            first = number * IDS  # whoever comes in the next world is somebody else
            seen = replace(moment.people, ids=moment.people.ids + first), replace(moment.vehicles, ids=moment.vehicles.ids + first)
            yield replace(state, stamp_ns=stamp_ns, people=seen[0], vehicles=seen[1], vehicle_forecast=boxes)
        begin_ns += round((world.seconds + PAUSE_S) * NANOSECONDS)


def judged(states: list[SceneState], name: str, enabled: bool, rate: float) -> dict[str, float]:
    """Coverage and errors over the second half, of one class."""
    correction = Correction(CorrectionConfig(enabled=enabled, rate=rate))
    for number, state in enumerate(states):
        if number == len(states) // 2:
            correction.scores[name].begin(window=1_000_000)
        correction.learn(correction.corrected(state))
    return {key: round(value, 3) for key, value in correction.scores[name].summary().items()}


def both(states: list[SceneState], name: str, rate: float) -> dict[str, dict[str, float]]:
    """Without and with the correction, over the same stream."""
    return {"off": judged(states, name, False, rate), "on": judged(states, name, True, rate)}


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--traffic", type=int, default=0, help="simulated streets and crossings of the stream")
    parser.add_argument("--forecaster", default="", help="of traffic: a name or a path; empty = the shipped one")
    parser.add_argument("--walking", type=int, default=8, help="people in each of these")
    parser.add_argument("--first-seed", type=int, default=61000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=CorrectionConfig.rate)
    args = parser.parse_args()
    if args.people:
        for name, recording in read_recordings(args.people).items():
            scene = next((scene for scene in ("eth", "hotel", "univ", "zara1", "zara2") if scene in args_name(name)), None)
            choices = {"constant_velocity": load_forecaster("constant_velocity")}
            if scene is not None:
                choices["left out"] = load_forecaster(find_weights(f"eth_ucy_loo/{scene}.safetensors"))
            for title, forecaster in choices.items():
                states = list(crowd(recording.positions_m, recording.present, forecaster, round(args.seconds / DT_S)))
                print(json.dumps({"stream": name, "forecaster": title, **both(states, "person", args.rate)}), flush=True)
    driving = load_traffic_forecaster(args.forecaster)
    seeds = range(args.first_seed, args.first_seed + args.traffic)
    for density, faster in SHIFTS if seeds else ():
        worlds = [
            World(("street", "crossing")[seed % 2], seed, args.seconds, density, args.walking, faster=faster, every=2) for seed in seeds
        ]
        states = list(traffic(worlds, driving))
        told = {"stream": f"traffic {seeds}", "traffic": density, "faster": faster, "forecaster": driving.name}
        print(json.dumps(told | {name: both(states, name, args.rate) for name in ("vehicle", "cyclist")}), flush=True)


def args_name(name: str) -> str:
    """The scene's name as the weights have it: crowds_zara01 is zara1, biwi_eth eth, students univ."""
    return name.replace("zara0", "zara").replace("students", "univ").removeprefix("biwi_").removeprefix("crowds_")


if __name__ == "__main__":
    main()
