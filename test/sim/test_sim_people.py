"""Simulated people: lawful, seeded, clear of each other, of walls and of the robot."""

import numpy as np
import pytest

from jepa_ros.sim.people.crowd import Crowd
from jepa_ros.sim.people.signals import people_may_start
from jepa_ros.sim.people.social_force import RADIUS_M, Movers
from jepa_ros.sim.places.layout import Obstacles, WalkGraph
from jepa_ros.sim.places.worlds import PLACES, make_layout
from jepa_ros.sim.simulation import Simulation
from jepa_ros.training.forecaster.crowds import crowd_recording


def pair_gaps(positions_m):
    gaps = np.linalg.norm(positions_m[:, None] - positions_m[None], axis=2)
    return gaps[~np.eye(len(gaps), dtype=bool)]


def cross(a, b, segments):
    """(P, S) whether the way from a (P, 2) to b (P, 2) crosses a segment (S, 2, 2)."""

    def side(p, q, r):
        return np.sign((q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0]))

    a, b, c, d = a[:, None], b[:, None], segments[None, :, 0], segments[None, :, 1]
    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)


@pytest.mark.parametrize("scenario", list(PLACES))
def test_people_keep_clear_of_each_other_of_walls_and_of_the_ego(scenario):
    simulation = Simulation(scenario, 20_001)
    crowd, walls = simulation.crowd, simulation.layout.obstacles.segments_m
    assert len(crowd.positions_m) >= 5
    travelled = np.zeros(len(crowd.positions_m))
    for _ in range(100):
        before, who = crowd.positions_m.copy(), crowd.serials.copy()
        simulation.step(0.1)
        stayed = crowd.serials == who
        moved = np.linalg.norm(crowd.positions_m - before, axis=1)[stayed]
        travelled[stayed] += moved
        assert moved.max() < 0.35  # nobody jumps
        assert pair_gaps(crowd.positions_m).min() > 2 * RADIUS_M - 0.03
        assert not cross(before[stayed], crowd.positions_m[stayed], walls).any()
        ego_gap = np.linalg.norm(crowd.positions_m[:, None] - simulation.ego.discs(), axis=2) - simulation.ego.measures.half_width_m
        assert ego_gap.min() > RADIUS_M
    assert np.median(travelled) > 5.0  # in ten seconds


def test_two_people_who_meet_head_on_pass_each_other():
    walk = WalkGraph(np.array([[0.0, 0.0], [12.0, 0.0]]), np.full((2, 2), 0.05), ((1,), (0,)), ())
    crowd = Crowd(walk, Obstacles(np.zeros((0, 2, 2)), np.zeros((0, 3))), 2, np.random.default_rng(0))
    crowd.positions_m = np.array([[0.0, 0.0], [12.0, 0.0]])
    crowd.velocities_mps = np.array([[1.3, 0.0], [-1.3, 0.0]])
    crowd._leader, crowd._node, crowd._previous = np.array([0, 1]), np.array([1, 0]), np.array([0, 1])
    closest, aside = np.inf, 0.0
    for _ in range(140):
        crowd.step(0.05)
        closest = min(closest, pair_gaps(crowd.positions_m).min())
        aside = max(aside, np.abs(crowd.positions_m[:, 1]).max())
    assert crowd.positions_m[0, 0] > 7.0
    assert crowd.positions_m[1, 0] < 5.0
    assert closest > 2 * RADIUS_M
    assert 0.2 < aside < 2.0


def test_a_crowd_without_mujoco_is_seeded_and_marks_who_is_absent():
    crowd, again = crowd_recording("crossing", 5), crowd_recording("crossing", 5)
    assert np.array_equal(crowd.positions_m, again.positions_m)
    assert np.array_equal(crowd.present, again.present)
    assert len(set(crowd.present.sum(axis=1))) == 1, "as many are there at any time"
    assert crowd.present.shape[1] > crowd.present[0].sum(), "some left, others came"
    both = crowd.present[1:] & crowd.present[:-1]
    speed = np.linalg.norm(np.diff(crowd.positions_m, axis=0), axis=2)[both] / 0.4
    assert 0.7 < np.median(speed[speed > 0.2]) < 1.6


def test_recorded_people_walk_again(tmp_path):
    file = tmp_path / "tracks.txt"
    # 7 walks 4 m in 4 s; 9 comes after 7 has left and may have his body; 8 overlaps both.
    rows = [(f, 7, f / 25, 0.0) for f in range(0, 101, 10)] + [(f, 8, 4.0, 0.0) for f in range(50, 301, 10)]
    rows += [(f, 9, 0.0, (f - 150) / 25) for f in range(150, 251, 10)]
    file.write_text("\n".join("\t".join(map(str, row)) for row in rows))
    simulation = Simulation("square", 1, tracks=file)
    simulation.step(3.0)
    people = {agent.id: agent for agent in simulation.agents() if agent.kind == "person"}
    assert set(people) == {7, 8}
    assert people[7].position_m[:2] == pytest.approx([1.0, -2.0])  # the middle of all points, (2, 2), is the origin
    assert people[7].velocity_mps == pytest.approx([1.0, 0.0])
    simulation.step(5.0)
    assert {agent.id for agent in simulation.agents() if agent.kind == "person"} == {8, 9}
    assert len(simulation.crowd.serials) == 2
    beside = Movers(np.array([[-2.0, 0.5]]), np.zeros((1, 2)), np.array([0.4]))  # 9 begins at (-2, -2)
    simulation = Simulation("square", 1, tracks=file)
    simulation.crowd.step(8.0, beside)
    assert set(simulation.crowd.serials[simulation.crowd.present]) == {8}, "nobody steps out of thin air beside a robot"
    simulation.crowd.step(1.0)
    assert set(simulation.crowd.serials[simulation.crowd.present]) == {8}, "nor a little later"
    file.write_text("not a track")
    with pytest.raises(ValueError, match="rows of frame, id, x, y"):
        Simulation("square", 1, tracks=file)


def test_nobody_comes_in_out_of_nowhere_beside_a_robot():
    layout = make_layout("corridor", 3)
    gate = min(layout.walk.exits)
    robot = Movers(layout.walk.nodes_m[[gate]], np.zeros((1, 2)), np.array([0.4]))
    came_m: dict[bool, list[float]] = {False: [], True: []}
    for beside in came_m:
        crowd = Crowd(layout.walk, layout.obstacles, 12, np.random.default_rng(3))
        for _ in range(1200):
            before = crowd.serials.copy()
            crowd.step(0.05, robot if beside else None)
            new = crowd.serials != before
            came_m[beside] += np.linalg.norm(crowd.positions_m[new] - robot.positions_m, axis=1).tolist()
    assert min(came_m[False]) < 2.0, "that gate is used"
    assert came_m[True]
    assert min(came_m[True]) > 3.5


def test_people_cross_with_the_signal():
    simulation = Simulation("crossing", 20_016)
    crowd, walk = simulation.crowd, simulation.layout.walk

    def out_on_the_road():
        """Who has left the kerb on a way across."""
        start = crowd._previous
        gone = np.linalg.norm(crowd.positions_m - walk.nodes_m[start], axis=1)
        return crowd._on_crossing() & (gone > 1.2 + np.linalg.norm(walk.half_extent_m[start], axis=1))

    lawful, before = [], out_on_the_road()
    for _ in range(300):
        simulation.step(0.1)
        now = simulation.layout.start_time_s + simulation.time_s
        for person in np.flatnonzero(out_on_the_road() & ~before):
            group = walk.crossings[crowd._previous[person], crowd._node[person]]
            lawful.append(any(people_may_start(group, now - late) for late in (0.0, 0.5, 1.0)))
        before = out_on_the_road()
    assert len(lawful) >= 8
    assert np.mean(lawful) > 0.9  # now and then somebody is pushed off the kerb
