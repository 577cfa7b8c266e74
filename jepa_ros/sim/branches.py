"""Several futures of one instant: the ego drives on, stops or swerves, and people who react to it do something else each time.

In a plain run the ego does what its surroundings make it do, so nothing recorded tells what its motion changes. Branches do.
"""

from __future__ import annotations

import copy

import numpy as np

from jepa_ros.sim.simulation import Simulation

MANOEUVRES = ("on", "stand", "swerve")
SLOWEST_MPS = 1.0  # of an ego that drives on or swerves
SIDEWAYS_MPS2 = 1.0  # of one that swerves
LOOKED_AHEAD_S = 4.8
MINDS_M = 0.3  # who ends so far apart when the ego drives on and when it stands minds it
EVERY_S, APART_S = 1.2, 3.0  # between instants that are looked at, and that are chosen
MIN_SPEED_MPS = 0.5


def set_off(simulation: Simulation, manoeuvre: str) -> None:
    """From now on the ego does this: keeps its speed straight ahead ("on"), brakes and stands, or keeps its speed in a bend to the left."""
    speed_mps = max(simulation.ego.speed_mps, SLOWEST_MPS)
    commands = {"on": (speed_mps, 0.0), "stand": (0.0, 0.0), "swerve": (speed_mps, SIDEWAYS_MPS2 / speed_mps)}
    simulation.command(*commands[manoeuvre])


def instants(scenario: str, seed: int, count: int, first_s: float, last_s: float) -> list[float]:
    """At most `count` instants, in seconds, of a run: those at which most people mind whether the driving ego goes on or stands."""
    simulation = Simulation(scenario, seed)
    simulation.advance(first_s)
    minding: dict[float, int] = {}
    while simulation.time_s <= last_s:
        if simulation.ego.speed_mps > MIN_SPEED_MPS:
            minding[round(simulation.time_s, 3)] = _who_mind(simulation)
        simulation.advance(EVERY_S)
    chosen: list[float] = []
    for at_s in sorted(minding, key=lambda instant: (-minding[instant], instant)):
        if minding[at_s] and all(abs(at_s - other) >= APART_S for other in chosen):
            chosen.append(at_s)
    return sorted(chosen[:count])


def _who_mind(simulation: Simulation) -> int:
    ends = []
    for manoeuvre in ("on", "stand"):
        future = _fork(simulation)
        set_off(future, manoeuvre)
        future.advance(LOOKED_AHEAD_S)
        ends.append(dict(zip(future.crowd.serials.tolist(), future.crowd.positions_m, strict=True)))
    return sum(float(np.hypot(*(ends[0][person] - ends[1][person]))) > MINDS_M for person in ends[0].keys() & ends[1].keys())


def _fork(simulation: Simulation) -> Simulation:
    """A copy to `advance`; what never changes then, the place and its bodies, is shared."""
    shared = (simulation.layout, simulation.model, simulation.data)
    return copy.deepcopy(simulation, {id(part): part for part in shared})
