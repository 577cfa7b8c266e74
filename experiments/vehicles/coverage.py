"""Do the published regions hold what they promise, with and without the online correction? `python -m experiments.vehicles.coverage`.

--people DIR      ETH/UCY: each recording as a stream, by the forecaster that never saw it and by constant velocity
--traffic 3       simulated streets and crossings: boxes with the noise of a detector, tracked and forecast; how far off both are at 2.4 s

Prints one JSON line for each stream: coverage of the 50 and 90 % regions over its second half.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from jepa_ros.forecast.conformal import Correction, CorrectionConfig
from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.forecast.turning import Turning
from jepa_ros.movers import VehicleDetections
from jepa_ros.objects.vehicles.tracking import VehicleTracker
from jepa_ros.protocols import Forecaster
from jepa_ros.sim.simulation import Simulation
from jepa_ros.training.forecaster.data import read_recordings
from jepa_ros.types import NANOSECONDS, EgoState, OccupancyForecast, PedestrianForecast, SceneState, TrackedPeople, Tracks
from jepa_ros.weights import find_weights

HISTORY, DT_S = 8, 0.4
NOBODY = Tracks(np.zeros((0, HISTORY, 2)), np.zeros((0, HISTORY), bool), DT_S)
RATE_HZ, NOISE = 5.0, np.array([0.12, 0.12, 0.04, 0.1, 0.05])  # of a detected box: m, m, rad, m, m
AHEAD_S, DRIVES_MPS = 2.4, 1.0
SHIFTS = ((1.0, 1.0), (2.0, 1.5))  # traffic, speed: as the forecast was set for, and a shifted world


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


def traffic(seed: int, seconds: float, density: float, faster: float) -> Iterator[SceneState]:
    """Simulated cars, as a tracker sees them."""
    place = ("street", "crossing")[seed % 2]
    simulation, tracker, turning = Simulation(place, seed, n_people=0, traffic=density), VehicleTracker(), Turning()
    simulation.ego.wanted_mps *= faster
    for vehicle in simulation.vehicles:
        vehicle.wanted_mps *= faster
    generator, nobody = np.random.default_rng(seed), load_forecaster("constant_velocity").predict(NOBODY)
    for tick in range(round(seconds * RATE_HZ)):
        simulation.advance(1.0 / RATE_HZ)
        cars = [agent for agent in simulation.agents() if agent.kind == "car" and agent.id < 1000]
        boxes = np.array([[*agent.position_m[:2], agent.yaw_rad, *agent.size_m[:2]] for agent in cars]).reshape(-1, 5)
        boxes = boxes + NOISE * generator.normal(size=boxes.shape)
        boxes[:, 2] %= np.pi
        seen = VehicleDetections(boxes, np.full(len(boxes), 0.95), np.full(len(boxes), 1.5), np.zeros(len(boxes)), np.zeros(2))
        stamp_s = tick / RATE_HZ
        vehicles = tracker.update(NANOSECONDS + round(stamp_s * NANOSECONDS), seen)
        state = state_of(stamp_s, NOBODY, np.zeros(0, np.int64), nobody)
        told = turning.predict(vehicles)
        yield replace(state, vehicles=vehicles, vehicle_forecast=told)


def after(states: list[SceneState]) -> dict[str, float]:
    """Mean error 2.4 s ahead of vehicles that drive, of the likeliest way and of constant velocity."""
    ahead, ours, straight = round(AHEAD_S * RATE_HZ), [], []
    for now, then in zip(states, states[ahead:], strict=False):
        later = {number: row for row, number in enumerate(then.vehicles.ids.tolist())}
        step = int(np.abs(now.vehicle_forecast.times_s - AHEAD_S).argmin())
        for row, number in enumerate(now.vehicles.ids.tolist()):
            velocity = now.vehicles.velocities_mps[row]
            if number not in later or np.hypot(*velocity) < DRIVES_MPS:
                continue
            truth = then.vehicles.boxes[later[number], :2]
            best = now.vehicle_forecast.poses[row, now.vehicle_forecast.probabilities[row].argmax(), step, :2]
            ours.append(float(np.hypot(*(best - truth))))
            straight.append(float(np.hypot(*(now.vehicles.boxes[row, :2] + AHEAD_S * velocity - truth))))
    return {
        "driving": len(ours),
        "FDE_2.4s_m": round(float(np.mean(ours or [np.nan])), 3),
        "constant_velocity_m": round(float(np.mean(straight or [np.nan])), 3),
    }


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
    parser.add_argument("--traffic", type=int, default=0, help="simulated crossings, each in two variants")
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
    for seed in range(args.first_seed, args.first_seed + args.traffic):
        for density, faster in SHIFTS:
            states = list(traffic(seed, args.seconds, density, faster))
            told = {"stream": f"traffic {seed}", "traffic": density, "faster": faster, **after(states)}
            print(json.dumps({**told, **both(states, "vehicle", args.rate)}), flush=True)


def args_name(name: str) -> str:
    """The scene's name as the weights have it: crowds_zara01 is zara1, biwi_eth eth, students univ."""
    return name.replace("zara0", "zara").replace("students", "univ").removeprefix("biwi_").removeprefix("crowds_")


if __name__ == "__main__":
    main()
