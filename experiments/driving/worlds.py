"""Episodes to drive: a seeded place, how many people are in it, where the robot starts and where it is to go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_ros.planning.grids import inflate
from jepa_ros.planning.guide import CostToGo
from jepa_ros.sim.people.traffic import Vehicle
from jepa_ros.sim.places.worlds import make_layout
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import FloatArray, GridSpec

ROBOT_RADIUS_M = 0.4
MAX_SPEED_MPS = 1.5
GRID = GridSpec(rows=200, columns=200, resolution_m=0.4, origin_m=(-40.0, -40.0))  # around the start
DENSITIES = {"low": 0.4, "medium": 1.0, "high": 2.0}  # times the people and vehicles that the place is made for
PLACES = ("corridor", "crossing", "hall", "doorway", "street")
RECORDED = {"low": "hotel/biwi_hotel.txt", "medium": "zara1/crowds_zara01.txt", "high": "univ/students003.txt"}
FIRST_SEED = 80_000  # nothing was trained or tuned on seeds from here on
NEAR_M, FAR_M = 9.0, 18.0  # how far the goal is
CLEAR_M = 1.2  # between a start or goal and any wall; people keep as far from the start at the first moment


@dataclass(frozen=True)
class Episode:
    """One question, the same for every method."""

    place: str  # of PLACES, or "recorded"
    density: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.place}-{self.density}-{self.seed}"


@dataclass(frozen=True)
class World:
    """The simulation, the robot in it at the start, and what the best way would be if nobody were there."""

    simulation: Simulation
    goal_m: FloatArray  # (2,) world frame
    optimum_m: float


class NoWay(ValueError):
    """A place in which no start and goal are as far apart as is asked for."""


def episodes(count: int, density: str, tracks: Path | None, first_seed: int = FIRST_SEED) -> list[Episode]:
    """`count` of them, places in turn; every sixth with recorded people where there are recordings. Seeds without a way are passed over."""
    kinds = (*PLACES, "recorded") if tracks else PLACES
    found: list[Episode] = []
    number = 0
    while len(found) < count:
        episode = Episode(kinds[number % len(kinds)], density, first_seed + number)
        number += 1
        try:
            make_world(episode, tracks)
        except NoWay:
            continue
        found.append(episode)
    return found


def make_world(episode: Episode, tracks: Path | None) -> World:
    """`tracks`: the folder of ETH/UCY, for recorded people."""
    if episode.place == "recorded":
        assert tracks is not None
        simulation = Simulation("square", episode.seed, tracks=tracks / RECORDED[episode.density])
        simulation.crowd.step(float(np.random.default_rng(episode.seed).uniform(10.0, 150.0)))
    else:
        density, people = DENSITIES[episode.density], make_layout(episode.place, episode.seed).n_people
        simulation = Simulation(episode.place, episode.seed, max(1, round(density * people)), traffic=density)
    start_m, goal_m, optimum_m = _choose(simulation, np.random.default_rng([episode.seed, 7]))
    yaw = float(np.arctan2(*(goal_m - start_m)[::-1]))
    lane = simulation.layout.ego_lane
    simulation.ego = Vehicle("robot", lane, 0.0, 0.0, MAX_SPEED_MPS, np.array([*start_m, yaw]), ends=True)
    simulation.command(0.0, 0.0)
    simulation.step(0.05)
    return World(simulation, goal_m, optimum_m)


def standing(simulation: Simulation, centre_m: FloatArray, grid: GridSpec) -> np.ndarray:
    """(Y, X) float32, 1 where a wall, a pillar or a parked car stands; the grid's origin is relative to `centre_m`."""
    obstacles = simulation.layout.standing
    points = [obstacles.segments_m[:, 0]]
    for start, end in obstacles.segments_m:
        share = np.linspace(0.0, 1.0, max(2, int(np.linalg.norm(end - start) / (0.4 * grid.resolution_m)) + 1))[:, None]
        points.append(start + share * (end - start))
    for x, y, radius in obstacles.discs_m:
        angle = np.linspace(0, 2 * np.pi, 16)[:, None]
        points += [np.array([[x, y]]) + share * radius * np.concatenate([np.cos(angle), np.sin(angle)], 1) for share in (0.0, 0.5, 1.0)]
    cell = np.floor((np.concatenate(points) - centre_m - np.array(grid.origin_m)) / grid.resolution_m).astype(int)
    inside = (cell >= 0).all(axis=1) & (cell[:, 0] < grid.columns) & (cell[:, 1] < grid.rows)
    occupied = np.zeros((grid.rows, grid.columns), np.float32)
    occupied[cell[inside, 1], cell[inside, 0]] = 1.0
    return occupied


def global_path(simulation: Simulation, goal_m: FloatArray) -> FloatArray:
    """(N, 2) in the world: the shortest way from the robot to the goal around what the map shows, as on a static costmap."""
    start_m = simulation.ego.pose[:2]
    middle = simulation.layout.ego_lane.path.pose(simulation.layout.ego_lane.path.length_m / 2)[:2]
    grid = GridSpec(GRID.rows, GRID.columns, GRID.resolution_m, GRID.origin_m)
    occupied = standing(simulation, middle, grid)
    blocked, beside = (inflate(occupied[None], grid.resolution_m, radius_m)[0] for radius_m in (ROBOT_RADIUS_M, ROBOT_RADIUS_M + 0.3))
    way = CostToGo(blocked, beside, grid, start_m - middle, goal_m - middle, ROBOT_RADIUS_M, 0.5)
    cells = way.ahead(start_m - middle, np.inf) + middle
    return np.concatenate((start_m[None], cells[1:], goal_m[None]))


def _choose(simulation: Simulation, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, float]:
    """A start and a goal on the walkways whose way around what stands has the wanted length, and that length."""
    walk, people_m = simulation.layout.walk, simulation.crowd.positions_m
    middle = simulation.layout.ego_lane.path.pose(simulation.layout.ego_lane.path.length_m / 2)[:2]
    grid = GridSpec(GRID.rows, GRID.columns, GRID.resolution_m, GRID.origin_m)
    occupied = standing(simulation, middle, grid)
    clear = inflate(occupied[None], grid.resolution_m, CLEAR_M)[0] < 0.5
    blocked = inflate(occupied[None], grid.resolution_m, ROBOT_RADIUS_M)[0]

    def is_clear(point_m: FloatArray) -> bool:
        column, row = ((point_m - middle - np.array(grid.origin_m)) // grid.resolution_m).astype(int)
        return bool(0 <= row < grid.rows and 0 <= column < grid.columns and clear[row, column])

    for _ in range(400):
        a, b = rng.choice(len(walk.nodes_m), 2, replace=False)
        start, goal = (walk.nodes_m[n] + walk.half_extent_m[n] * rng.uniform(-1, 1, 2) for n in (a, b))
        if not (NEAR_M <= np.linalg.norm(goal - start) <= FAR_M and is_clear(start) and is_clear(goal)):
            continue
        if len(people_m) and np.linalg.norm(people_m - start, axis=1).min() < CLEAR_M + ROBOT_RADIUS_M:
            continue
        way = CostToGo(blocked, blocked, grid, start - middle, goal - middle, ROBOT_RADIUS_M, 0.5)
        column, row = ((start - middle - np.array(way.grid.origin_m)) // way.grid.resolution_m).astype(int)
        length_m = float(np.linalg.norm(goal - start)) + float(way.detour_m()[row, column])
        if way.reached[row, column] and length_m < 1.5 * FAR_M:
            return start, goal, length_m
    raise NoWay(f"{simulation.layout.scenario} {simulation.layout.seed}: no start and goal {NEAR_M}-{FAR_M} m apart were found")
