"""What it costs to find, follow and forecast what moves: python -m experiments.vehicles.speed BAG [--sweeps 60]

In thread time, in units of a convolution of 1 GMAC timed beside each sweep; with AVX2 alone:
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2. Detection and trackers run on the recording as it is; forecasts on twenty objects, copies
of those that are tracked. Points and local ground are there before: the world model reads them, too. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from experiments.common import convolution_s
from jepa_ros.forecast import load_forecaster
from jepa_ros.forecast.loading import load_traffic_forecaster
from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.detection import PersonDetector
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.objects.vehicles.people_filter import outside
from jepa_ros.objects.vehicles.tracking import VehicleTracker
from jepa_ros.protocols import ForecastsCyclists
from jepa_ros.sensing import open_bag
from jepa_ros.threads import keep_freed_memory
from jepa_ros.types import TrackedPeople

PEOPLE, VEHICLES = 12, 8
APART_M = 3.0, 6.0  # from a person, or a vehicle, to its copy
WARM_UP = 8


def crowd(people: TrackedPeople) -> TrackedPeople:
    """Twelve people: those that are tracked, over and over, each time a little further on; nobody where nobody is."""
    if not len(people.ids):
        return people
    row, history = np.arange(PEOPLE) % len(people.ids), people.history
    shift_m = np.column_stack((APART_M[0] * (np.arange(PEOPLE) // len(people.ids)), np.zeros(PEOPLE)))
    past = replace(history, positions_m=history.positions_m[row] + shift_m[:, None], valid=history.valid[row])
    riding = None if people.riding is None else people.riding[row]
    rows = (people.velocities_mps[row], people.existence[row], people.radii_m[row])
    return TrackedPeople(np.arange(1, PEOPLE + 1), people.positions_m[row] + shift_m, *rows, past, riding)


def queue(vehicles: TrackedVehicles) -> TrackedVehicles:
    """Eight vehicles, likewise."""
    if not len(vehicles):
        return vehicles
    row = np.arange(VEHICLES) % len(vehicles)
    shift_m = np.column_stack((APART_M[1] * (np.arange(VEHICLES) // len(vehicles)), np.zeros(VEHICLES)))
    copies = TrackedVehicles(*(values[row] for values in vars(vehicles).values()))
    boxes, states = copies.boxes.copy(), copies.states.copy()
    boxes[:, :2] += shift_m
    states[:, :2] += shift_m
    ids = vehicles.ids.max() + np.arange(1, VEHICLES + 1)
    return replace(copies, ids=ids, boxes=boxes, states=states, past_m=copies.past_m + shift_m[:, None])


@torch.inference_mode()
def cost(bag: Path, sweeps: int) -> dict[str, object]:
    """Medians over the sweeps after the first WARM_UP ones."""
    detector, people_tracker, vehicle_tracker = PersonDetector(), PeopleTracker(), VehicleTracker()
    forecaster, traffic = load_forecaster(None), load_traffic_forecaster("")
    assert isinstance(traffic, ForecastsCyclists)
    spent, counts = [], []
    for observation in islice(open_bag(bag), sweeps):
        observation.flattened_m, observation.local_ground_m  # noqa: B018  # made when first read
        unit_s, pose = convolution_s(), observation.odom_from_anchor
        marks = [time.thread_time()]
        seen = detector.detect_in(observation)
        marks.append(time.thread_time())
        vehicles = vehicle_tracker.follow(observation.stamp_ns, seen.vehicles or VehicleDetections(), pose)
        people = people_tracker.follow(observation.stamp_ns, outside(seen, vehicles, pose), pose)
        marks.append(time.thread_time())
        walkers, cars = crowd(people), queue(vehicles)
        begun_s = time.thread_time()
        traffic.predict_with_cyclists(cars, walkers, forecaster.predict(walkers.history, None), observation.ego)
        spent.append((*np.diff(marks), time.thread_time() - begun_s, unit_s))
        counts.append((len(people.ids), len(vehicles)))
    table = np.array(spent[WARM_UP:])
    units = np.column_stack((table[:, :3], table[:, :3].sum(axis=1))) / table[:, 3:]
    names = ("find", "follow", "forecast_20", "all")
    return {
        "bag": bag.name,
        "sweeps": len(table),
        "units_p50": dict(zip(names, np.median(units, axis=0).round(3).tolist(), strict=True)),
        "units_p99": dict(zip(names, np.percentile(units, 99, axis=0).round(3).tolist(), strict=True)),
        "unit_ms": round(1e3 * float(np.median(table[:, 3])), 2),
        "people_and_vehicles": np.mean(counts[WARM_UP:], axis=0).round(1).tolist(),
    }


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="a bag with lidar and odometry")
    parser.add_argument("--sweeps", type=int, default=100, help="how many, at most (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the node does
    print(json.dumps(cost(args.bag, max(args.sweeps, WARM_UP + 1))))


if __name__ == "__main__":
    main()
