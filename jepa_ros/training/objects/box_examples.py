"""Proposed boxes with their evidence and their class, from real sweeps into which synthetic vehicles and other large objects are cast.

Axes: N points, G boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.shape import Surroundings
from jepa_ros.objects.sightlines import SightLines
from jepa_ros.objects.vehicles.boxes import within
from jepa_ros.objects.vehicles.evidence import box_evidence
from jepa_ros.objects.vehicles.proposals import in_slice, propose
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.training.objects.bodies import CLUTTER, VEHICLE
from jepa_ros.training.objects.casting import Beams, cast
from jepa_ros.training.objects.examples import CAST, REAL, SIMULATED, Examples, varied, worn
from jepa_ros.training.objects.recordings import UNKNOWN, Sweep
from jepa_ros.training.objects.vehicle_bodies import random_large_thing
from jepa_ros.types import FloatArray

RANGE_M, NEAREST_M = 30.0, 0.5
THINGS_IN_SWEEP, APART_M, FREE_M, REACH_M = 14, 2.5, 1.0, 6.0
MOST_OF_IT, HARDLY_ANY, ENOUGH_SEEN = 0.6, 0.1, 0.4  # shares of returns: of a box that are a vehicle's, of a vehicle that are in the box
NOTHING, SOMEBODYS = -1, 1000  # of no vehicle; of one that has no number
SEEN_FROM = 8


def with_large_things(sweep: Sweep, generator: np.random.Generator) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.intp]]:
    """Points with things cast among them, to which thing each belongs (N,), and what those are (T,)."""
    points: FloatArray = sweep.points_m.astype(np.float64)
    ring, of_thing = sweep.ring, vehicle_points(sweep)
    classes: list[int] = []
    places: list[FloatArray] = []
    if ring is None:
        return points, of_thing, np.zeros(0, np.intp)
    beams, noise_m = Beams.of(points, sweep.lidar_m, ring), float(generator.uniform(0.005, 0.03))
    angles = np.arctan2(points[:, 1], points[:, 0])
    for _ in range(THINGS_IN_SWEEP):
        thing, kind = random_large_thing(generator)
        angle = angles[generator.integers(len(angles))] + generator.normal(0.0, 0.1)
        place = (2.5 + 25.0 * generator.random() ** 1.3) * np.array([np.cos(angle), np.sin(angle)])
        near = ((points[:, :2] - place) ** 2).sum(axis=1)
        taken = (near < FREE_M**2) & (points[:, 2] > 0.3) & (points[:, 2] < 2.0)
        if taken.any() or any(np.hypot(*(place - other)) < APART_M for other in places):
            continue
        ground = points[near < 2.0**2, 2]
        height = float(np.percentile(ground, 10)) if len(ground) > 5 else 0.0
        spot = np.array([*place, height if abs(height) < 0.8 else 0.0])
        yaw = generator.uniform(0, 2 * np.pi)
        cloud, rings, kept, seen = cast(points, ring, sweep.lidar_m, beams, thing, spot, yaw, generator, noise_m, REACH_M)
        if seen >= SEEN_FROM:
            points, ring = cloud, rings
            of_thing = np.concatenate((of_thing[kept], np.full(seen, len(classes))))
            places.append(place)
            classes.append(kind)
    return points, of_thing, np.array(classes, np.intp)


def vehicle_points(sweep: Sweep) -> NDArray[np.intp]:
    """(N,) NOTHING, or SOMEBODYS and the number of the labelled vehicle that each point is of."""
    found = np.full(len(sweep.points_m), NOTHING)
    if sweep.point_class is not None:
        found[sweep.point_class == VEHICLE] = SOMEBODYS
    for number, inside in enumerate(within(sweep.vehicles, sweep.points_m[:, :2].astype(np.float64), 0.15)):
        found[inside] = SOMEBODYS + number
    return found


def boxes_of(sweep: Sweep, number: int, generator: np.random.Generator) -> Examples:
    """Examples of one sweep, varied and with things cast into it."""
    seen = varied(sweep, generator)
    all_points, of_thing, kinds = with_large_things(seen, generator)
    points, kept = worn(all_points, seen.lidar_m, generator)
    of_thing, density = of_thing[kept], len(points) / 60_000
    range_m = np.hypot(points[:, 0], points[:, 1])
    near = (range_m < RANGE_M) & (range_m > NEAREST_M)
    height = points[:, 2] - Terrain.fit(points[range_m > NEAREST_M], 0.0, seen.lidar_m).at(points[:, :2])
    use = near & (height > 0.2) & (height < 2.9)
    body, tall, of_thing = points[use], height[use], of_thing[use]
    sight = SightLines.of(body, tall, points, seen.lidar_m[:2])
    proposals = propose(body, tall, RANGE_M)
    evidence = box_evidence(body, tall, proposals, seen.lidar_m, Surroundings.of(body, tall, RANGE_M, sight), density)
    classes, made_up = classes_of(proposals.owner, len(proposals.boxes), of_thing, in_slice(tall), kinds)
    if not sweep.all_vehicles:  # of these only what is labelled or was cast in is known
        classes = np.where(made_up | (classes == VEHICLE), classes, UNKNOWN)
    known = classes != UNKNOWN
    domain = np.where(made_up, CAST, SIMULATED if sweep.simulated else REAL)[known]
    count = int(known.sum())
    return Examples(evidence[known], classes[known], domain, np.full(count, sweep.source), np.full(count, number))


def classes_of(
    owner: NDArray[np.intp], count: int, of_thing: NDArray[np.intp], body: NDArray[np.bool_], kinds: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(G,) class of each box by what its returns are of, and whether most are of something that was cast in."""
    classes, made_up = np.full(count, UNKNOWN), np.zeros(count, bool)
    vehicle = (of_thing >= SOMEBODYS) | np.isin(of_thing, np.flatnonzero(kinds == VEHICLE))
    for box in range(count):
        own = (owner == box) & body
        share = vehicle[own].mean()
        made_up[box] = ((of_thing[own] >= 0) & (of_thing[own] < SOMEBODYS)).mean() > 0.5
        if share < HARDLY_ANY:
            classes[box] = CLUTTER
        elif share > MOST_OF_IT:
            thing = np.bincount(of_thing[own][vehicle[own]]).argmax()
            whole = ((of_thing == thing) & body).sum()
            labelled_by_point = thing == SOMEBODYS  # several vehicles may share that number
            classes[box] = VEHICLE if labelled_by_point or (of_thing[own] == thing).sum() > ENOUGH_SEEN * whole else UNKNOWN
    return classes, made_up
