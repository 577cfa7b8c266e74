"""Regions come to hold what they promise in each class, at once after a restart, and not at all where that is turned off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jepa_ros.forecast.conformal import CLASSES, Correction, CorrectionConfig, widened
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.types import NANOSECONDS, EgoState, OccupancyForecast, PedestrianForecast, SceneState, TrackedPeople, Tracks

DT_S, STEPS, COUNT = 0.4, 3, 24
TIMES_S = DT_S * np.arange(1, STEPS + 1)
TRUE_M = 0.5  # deviation of every place from its home: of the way from one to another by the root of two more


def instant(step: int, generator: np.random.Generator, stated: dict[str, float]) -> SceneState:
    """Half of the people ride; all, and the vehicles, jump about their homes. `stated`: deviation that forecasts say, by class."""
    homes = 10.0 * np.arange(COUNT)[:, None] * np.ones(2)
    people, cars = (homes + generator.normal(0, TRUE_M, (COUNT, 2)) for _ in range(2))
    riding = np.arange(COUNT) % 2 == 0
    sigma = np.where(riding, stated["cyclist"], stated["person"])
    covariances = sigma[:, None, None, None, None] ** 2 * np.broadcast_to(np.eye(2), (COUNT, 1, STEPS, 2, 2))
    stay = np.broadcast_to(people[:, None, None], (COUNT, 1, STEPS, 2))
    tracks = Tracks(people[:, None], np.ones((COUNT, 1), bool), DT_S)
    ids, zeros, ones = np.arange(COUNT), np.zeros((COUNT, 2)), np.ones(COUNT)
    boxes = np.column_stack((cars, np.tile([0.0, 4.3, 1.8], (COUNT, 1))))
    poses = np.concatenate((np.broadcast_to(cars[:, None, None], (COUNT, 1, STEPS, 2)), np.zeros((COUNT, 1, STEPS, 1))), axis=-1)
    spread = stated["vehicle"] ** 2 * np.broadcast_to(np.eye(2), (COUNT, 1, STEPS, 2, 2))
    stamp_ns = NANOSECONDS + round(step * DT_S * NANOSECONDS)
    return SceneState(
        stamp_ns=stamp_ns,
        anchor_pose=np.eye(4),
        ego=EgoState(stamp_ns, np.eye(4), np.zeros(2)),
        latent=np.zeros((1, 1)),
        predicted=np.zeros((1, 1, 1)),
        occupancy=OccupancyForecast(np.zeros((1, 0, 0), np.float32), np.zeros(1), 1.0, (0.0, 0.0)),
        people=TrackedPeople(ids, people, zeros, ones, ones, tracks, riding.astype(float)),
        pedestrians=PedestrianForecast(stay, np.ones((COUNT, 1)), covariances, TIMES_S),
        surprise=0.0,
        vehicles=TrackedVehicles(ids, boxes, zeros, np.zeros(COUNT), ones, ones),
        vehicle_forecast=BoxForecast(poses, np.ones((COUNT, 1)), spread, TIMES_S),
    )


STATED = {"person": 0.5 * TRUE_M, "cyclist": np.sqrt(2) * TRUE_M, "vehicle": 3.0 * TRUE_M}  # too sure, right, too vague


def run(correction: Correction, steps: int, seed: int) -> dict[str, tuple[float, float]]:
    """Coverage of the 50 and 90 % regions of the last 500 of each class."""
    generator = np.random.default_rng(seed)
    for step in range(steps):
        published = correction.corrected(instant(step, generator, STATED))
        correction.learn(published)
    return {name: (s["coverage_50"], s["coverage_90"]) for name, s in ((n, correction.scores[n].summary()) for n in CLASSES)}


def test_coverage_goes_to_what_is_promised_in_each_class_and_stays_there_after_a_restart(tmp_path: Path) -> None:
    config = CorrectionConfig(rate=0.05, file=str(tmp_path / "kept" / "factors.json"))
    first = Correction(config)
    for half, nine in run(first, 280, 0).values():
        assert half == pytest.approx(0.5, abs=0.07)  # 500 forecasts, of which the steps hang together
        assert nine == pytest.approx(0.9, abs=0.05)
    np.testing.assert_allclose(first.factors("person", STEPS)[0], 2 * np.sqrt(2), rtol=0.2)
    np.testing.assert_allclose(first.factors("vehicle", STEPS)[0], np.sqrt(2) / 3, rtol=0.2)
    first.save()
    again = Correction(config)
    np.testing.assert_allclose(again.factors("person", STEPS), first.factors("person", STEPS), rtol=1e-4)
    assert run(again, 30, 1)["person"][1] > 0.8


def test_heavy_tails_need_both_factors() -> None:
    """Nine of ten stay within a third of what is stated, one goes three times as far: one factor cannot be right for both."""
    generator, correction = np.random.default_rng(5), Correction(CorrectionConfig(rate=0.05))
    homes = np.zeros((COUNT, 2))
    for step in range(300):
        state = instant(step, generator, dict.fromkeys(CLASSES, TRUE_M))
        far = np.where(generator.random((COUNT, 1)) < 0.1, 3.0, 0.35) * TRUE_M
        homes = 10.0 * np.arange(COUNT)[:, None] * np.ones(2)
        # The forecast says that all stay at home; where they are is drawn anew at each instant.
        here = homes + far * generator.normal(size=(COUNT, 2))
        stay = np.broadcast_to(homes[:, None, None], (COUNT, 1, STEPS, 2))
        people = replace(state.people, positions_m=here, riding=np.zeros(COUNT))
        state = replace(state, people=people, pedestrians=replace(state.pedestrians, modes_m=stay))
        correction.learn(correction.corrected(state))
    summary = correction.scores["person"].summary()
    assert summary["coverage_50"] == pytest.approx(0.5, abs=0.08)
    assert summary["coverage_90"] == pytest.approx(0.9, abs=0.05)
    inner, outer = correction.factors("person", STEPS)
    assert inner.mean() < 0.6
    assert outer.mean() > 1.5 * inner.mean()


def test_each_forecast_counts_alike_however_many_were_scored_with_it() -> None:
    """Nineteen who stay within half of what is stated, then one who goes three times as far, and so on: nearly all are of the nineteen."""
    generator, correction = np.random.default_rng(7), Correction()
    learn, held = correction._learner("cyclist"), []
    for instant_number in range(800):
        count, far = (19, 0.5) if instant_number % 2 else (1, 3.0)
        factor = correction.factors("cyclist", STEPS)[0]
        distance = np.linalg.norm(generator.normal(0.0, far, (count, STEPS, 2)), axis=-1)
        rank = 1.0 - np.exp(-0.5 * (distance / factor) ** 2)  # share of a normal distribution of two dimensions that lies nearer
        learn(rank, np.ones((count, STEPS), bool))
        held += [rank <= 0.5] if instant_number >= 400 else []
    assert np.concatenate(held).mean() == pytest.approx(0.5, abs=0.04)


def test_a_crowd_after_single_people_moves_no_factor_far() -> None:
    correction = Correction()
    learn = correction._learner("person")
    for _ in range(600):
        learn(np.full((1, STEPS), 0.5), np.ones((1, STEPS), bool))  # just within: the inner factor shrinks a little each time
    before = correction.log_factors["person"].copy()
    learn(np.ones((100, STEPS)), np.ones((100, STEPS), bool))  # all of them far outside
    moved = correction.log_factors["person"] - before
    assert (moved > 0.0).all()
    assert moved.max() < 5 * correction.config.rate


def test_the_further_mode_leaves_the_likeliest_the_likeliest() -> None:
    generator = np.random.default_rng(6)
    means, probabilities = generator.normal(size=(4, 5, 3, 2)), np.full((4, 5), 0.2)
    covariances = np.broadcast_to(np.eye(2), (4, 5, 3, 2, 2))
    modes, shares, spread = widened(means, probabilities, covariances, np.stack((np.full((4, 3), 2.0), np.ones((4, 3)))))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares[:, -1] < shares[:, :-1].max(axis=1)).all()
    np.testing.assert_allclose(modes[:, -1], means.mean(axis=1))
    np.testing.assert_allclose(spread[:, 0], 4.0 * covariances[:, 0])
    assert (np.linalg.eigvalsh(spread[:, -1]) >= 1.0).all()  # its own spread, and that of the modes about their middle


def test_turned_off_nothing_changes() -> None:
    correction = Correction(CorrectionConfig(enabled=False))
    coverage = run(correction, 60, 2)
    assert coverage["person"][1] < 0.6
    state = instant(0, np.random.default_rng(3), STATED)
    assert correction.corrected(state) is state


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    path = tmp_path / "factors.json"
    for text in ("{", "[]", '{"format": 9, "log_factors": {}}', '{"format": 2, "log_factors": {"dog": [[0.0], [0.0]]}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"factors\.json"):
            Correction(CorrectionConfig(file=str(path)))
