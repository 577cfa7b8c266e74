"""The closed-loop bench: what it counts, and that a drive is the same each time."""

from pathlib import Path

import numpy as np
import pytest

from experiments.common import ratio_of_sums, wilson
from experiments.driving import worlds as closed_loop_worlds
from experiments.driving.drive import Outcome, Watch, drive
from experiments.driving.methods import fork
from experiments.driving.report import load
from experiments.driving.table import report
from experiments.driving.worlds import Episode, episodes, make_world

EPISODE = Episode("doorway", "low", 40_003)


def test_the_same_episode_is_the_same_drive() -> None:
    one, two = (drive(EPISODE, "stop and go", None) for _ in range(2))
    assert (one.time_s, one.length_m, one.nearest_m) == (two.time_s, two.length_m, two.nearest_m)
    assert 9.0 <= one.length_optimum_m <= 27.0


def test_who_drives_into_a_person_is_at_fault_and_who_stands_or_is_struck_from_behind_is_not() -> None:
    simulation = make_world(EPISODE, None).simulation
    watch = Watch(simulation)
    ahead = np.array([np.cos(simulation.ego.pose[2]), np.sin(simulation.ego.pose[2])])
    simulation.crowd.step = lambda dt_s, movers=None: None  # nobody steps aside
    simulation.crowd.positions_m[0] = simulation.ego.pose[:2] + 1.5 * ahead
    simulation.command(1.0, 0.0)
    touched = []
    for _ in range(60):
        simulation.step(0.05)
        touched.append(watch.look(0))
    assert [what for what in touched if what] == ["person"]
    simulation.command(0.0, 0.0)
    for position in (*(30 * [3.0]), 0.6):
        simulation.crowd.positions_m[0] = simulation.ego.pose[:2] + position * ahead
        simulation.step(0.05)
        watch.look(0)
    simulation.command(0.5, 0.0)
    for position in (*(30 * [-3.0]), -0.6):
        simulation.crowd.positions_m[0] = simulation.ego.pose[:2] + position * ahead
        simulation.step(0.05)
        watch.look(0)
    outcome = watch.outcome(EPISODE, "", False, 1.0, 1.0, 0.0)
    assert (outcome.at_fault, outcome.hit_by, outcome.struck) == (1, 1, 1)


def test_a_fork_goes_on_as_its_original_will() -> None:
    simulation = make_world(Episode("hall", "medium", 40_002), None).simulation
    other = fork(simulation)
    other.advance(2.0)
    before = simulation.crowd.positions_m.copy()
    simulation.advance(2.0)
    assert np.abs(before - simulation.crowd.positions_m).max() > 0.5
    assert np.array_equal(other.crowd.positions_m, simulation.crowd.positions_m)


def test_intervals() -> None:
    assert wilson(0, 50) == pytest.approx((0.0, 0.0714), abs=1e-3)
    assert wilson(45, 50) == pytest.approx((0.786, 0.957), abs=1e-3)
    theirs_s = np.random.default_rng(0).uniform(10.0, 20.0, 100)
    assert ratio_of_sums(1.5 * theirs_s, theirs_s) == pytest.approx((1.5, 1.5, 1.5))
    ratio, low, high = ratio_of_sums(theirs_s + np.tile((-3.0, 3.0), 50), theirs_s)
    assert ratio == pytest.approx(1.0)
    assert ratio - 0.1 < low < ratio < high < ratio + 0.1


def test_the_report_pairs_ours_with_constant_velocity_on_the_same_episodes() -> None:
    outcomes = [
        outcome
        for seed in range(8)
        for outcome in (
            made("constant velocity", seed, time_s=10.0, at_fault=int(seed < 6)),
            made("jepa_ros", seed, time_s=11.0 + 2 * (seed % 2), at_fault=int(seed == 7), reached=seed != 7),
        )
    ]
    text = report(outcomes, ["low", "high"], ["constant velocity", "jepa_ros"])
    assert "in 6 of 8 episodes, the reverse in 1 (sign test p = 0.12)" in text
    assert "time to the goal 1.186 [" in text, "six of seven, with 13 s every other time"
    assert "(7 episodes: hall 1.19)" in text
    assert "- jepa_ros: 1 wall (hall-high-7)" in text
    assert "| low |" not in text, "none were driven"


def made(method: str, seed: int, time_s: float, at_fault: int, reached: bool = True) -> Outcome:
    what = at_fault * ("wall",)
    return Outcome("hall", "high", seed, method, reached, at_fault, what, 0, 0, 1.0, 0.0, time_s, 10.0, 12.0, 12.0, 0.0, 50.0)


def test_a_broken_line_is_driven_again(tmp_path) -> None:
    (tmp_path / "episodes.jsonl").write_text('{"place": "ha')
    assert load(tmp_path / "episodes.jsonl") == {}


def test_seeds_without_a_way_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make(episode: Episode, tracks: Path | None) -> None:
        if episode.seed % 10 == 4:
            raise closed_loop_worlds.NoWay("none")

    monkeypatch.setattr(closed_loop_worlds, "make_world", make)
    drawn = episodes(7, "low", tmp_path)
    assert [episode.seed - closed_loop_worlds.FIRST_SEED for episode in drawn] == [0, 1, 2, 3, 5, 6, 7]
    assert [episode.place for episode in drawn][4:] == ["recorded", "corridor", "crossing"]
    assert [episode.seed for episode in episodes(4, "low", tmp_path, first_seed=93)] == [93, 95, 96, 97]


def test_drives_of_another_version_are_not_mixed_in(tmp_path) -> None:
    kept = tmp_path / "episodes.jsonl"
    kept.write_text('{"place": "hall", "density": "low", "seed": 1, "method": "jepa_ros"}\n')
    with pytest.raises(ValueError, match=r"another version of this bench .*struck.*give another --out"):
        load(kept)
