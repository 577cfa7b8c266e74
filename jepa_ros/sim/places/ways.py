"""Puts the parts of a place together: the walkways, and the finished Layout."""

from __future__ import annotations

import itertools

import numpy as np

from jepa_ros.sim.places.furniture import Builder, Place
from jepa_ros.sim.places.layout import Lane, Layout, WalkGraph


class Ways:
    """Collects the nodes and edges of a WalkGraph."""

    def __init__(self) -> None:
        self.nodes: list[tuple[float, float]] = []
        self.extents: list[tuple[float, float]] = []
        self.edges: list[tuple[int, int]] = []
        self.crossings: dict[tuple[int, int], int | None] = {}
        self.exits: list[int] = []

    def node(self, at: Place, half: Place, exit_: bool = False) -> int:
        """A place to walk to: anywhere within `half` of `at`."""
        self.nodes.append((at[0], at[1]))
        self.extents.append((max(half[0], 0.05), max(half[1], 0.05)))
        if exit_:
            self.exits.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def chain(self, nodes: list[int]) -> None:
        self.edges.extend(itertools.pairwise(nodes))

    def cross(self, a: int, b: int, signal_group: int | None = None) -> None:
        """Join two nodes over a carriageway, whose vehicles obey this signal group."""
        self.edges.append((a, b))
        self.crossings |= {(a, b): signal_group, (b, a): signal_group}

    def nearest(self, x: float, y: float, among: list[int]) -> int:
        return min(among, key=lambda n: (self.nodes[n][0] - x) ** 2 + (self.nodes[n][1] - y) ** 2)

    def graph(self) -> WalkGraph:
        neighbours: list[list[int]] = [[] for _ in self.nodes]
        for a, b in self.edges:
            neighbours[a].append(b)
            neighbours[b].append(a)
        return WalkGraph(np.array(self.nodes), np.array(self.extents), tuple(map(tuple, neighbours)), tuple(self.exits), self.crossings)


def finish(
    build: Builder,
    ways: Ways,
    scenario: str,
    seed: int,
    people: tuple[int, int],
    ego: Lane,
    start_m: float,
    platform: str,
    lanes: tuple[Lane, ...] = (),
    indoor: bool = False,
    start_time_s: float = 0.0,
    turnings: tuple[Lane, ...] = (),
) -> Layout:
    """The finished place. `people`: how many, and how many groups of them stand together."""
    parked = np.array(build.parked, dtype=float).reshape(-1, 3)
    raised = np.array(build.raised, dtype=float).reshape(-1, 5)
    return Layout(
        scenario=scenario,
        seed=seed,
        solids=tuple(build.solids),
        obstacles=build.obstacles(),
        walk=ways.graph(),
        n_people=people[0],
        n_standing_groups=people[1],
        ego_lane=ego,
        ego_start_m=float(start_m),
        ego_platform=platform,
        lanes=lanes,
        turnings=turnings,
        parked=parked,
        raised_m=raised,
        indoor=indoor,
        start_time_s=float(start_time_s),
    )
