"""The verifier, and how it is taught: bodies cast into sweeps with the sweep's own beams."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jepa_ros.objects.columns import EVIDENCE
from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.verifier import FORMAT, Verifier, load_verifier
from jepa_ros.training.objects.bodies import CLUTTER, PERSON, RIDER, person, random_thing
from jepa_ros.training.objects.casting import Beams, cast
from jepa_ros.training.objects.examples import CAST, REAL, Examples, make_examples
from jepa_ros.training.objects.fit import FitConfig, fit, weights_of
from jepa_ros.training.objects.rays import Solids
from jepa_ros.training.objects.recordings import Sweep
from jepa_ros.weights import find_weights

LIDAR_M = np.array([0.0, 0.0, 1.6])
ELEVATIONS = np.radians(np.arange(-20.0, 6.0, 1.0))


def street(generator: np.random.Generator, wall_m: float = 20.0) -> Sweep:
    """Flat ground within a round wall, seen by a lidar of 26 rings and steps of 0.4 degrees."""
    azimuth = np.radians(np.arange(-180, 180, 0.4))
    elevation, angle = np.repeat(ELEVATIONS, len(azimuth)), np.tile(azimuth, len(ELEVATIONS))
    range_m = np.full(len(angle), wall_m) / np.cos(elevation)
    down = elevation < 0
    range_m[down] = np.minimum(range_m[down], LIDAR_M[2] / -np.sin(elevation[down]))
    rays = np.stack([np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle), np.sin(elevation)], axis=1)
    points = LIDAR_M + rays * (range_m + generator.normal(0, 0.01, len(range_m)))[:, None]
    ring = np.repeat(np.arange(len(ELEVATIONS)), len(azimuth))
    return Sweep("street", points.astype(np.float32), ring, LIDAR_M, np.zeros((0, 2)), np.zeros(0, np.intp), None)


def test_a_body_is_cast_with_the_beams_of_the_sweep_and_stays_hidden_behind_a_wall() -> None:
    generator = np.random.default_rng(0)
    sweep = street(generator)
    points = sweep.points_m.astype(float)
    beams = Beams.of(points, LIDAR_M, sweep.ring)
    np.testing.assert_allclose(beams.elevations_rad, ELEVATIONS, atol=2e-3)
    assert abs(np.degrees(beams.step_rad) - 0.4) < 0.02
    post = Solids(boxes=[((0.0, 0.0, 1.0), (0.25, 0.25, 1.0), 0.0)])
    cloud, rings, kept, seen = cast(points, sweep.ring, LIDAR_M, beams, post, np.array([10.0, 0.0, 0.0]), 0.0, generator, 0.01)
    # A face 0.5 m wide and 2 m tall at 9.75 m: 2.9 degrees by 11.7, hence 7 steps of 11 or 12 rings, less what is lost.
    assert 0.85 * 75 < seen < 1.1 * 86
    new = cloud[len(cloud) - seen :]
    np.testing.assert_array_equal(cloud[: len(cloud) - seen], points[kept])
    assert np.abs(new[:, 0] - 9.75).max() < 0.06
    assert len(cloud) < len(points) + 10  # each took the place of a return behind it
    assert len(rings) == len(cloud)
    _, _, _, behind = cast(points, sweep.ring, LIDAR_M, beams, post, np.array([25.0, 0.0, 0.0]), 0.0, generator, 0.01)
    assert behind == 0


def test_a_person_cast_into_a_sweep_is_a_column_with_a_persons_deviations() -> None:
    generator = np.random.default_rng(1)
    sweep, found = street(generator), 0
    points = sweep.points_m.astype(float)
    beams = Beams.of(points, LIDAR_M, sweep.ring)
    detector = PersonDetector(DetectionConfig(verifier="rules"))
    for _ in range(10):
        cloud, _, _, _ = cast(
            points, sweep.ring, LIDAR_M, beams, person(generator), np.array([7.0, 2.0, 0.0]), generator.uniform(0, 6), generator, 0.01
        )
        seen = detector.detect(cloud.astype(np.float32), lidar_m=LIDAR_M)
        near = np.hypot(*(seen.positions_m - (7.0, 2.0)).T) < 0.4
        found += bool((seen.scores[near] > 0.5).any())
    assert found >= 7  # the hand-set score, which knows nothing of these bodies, takes most of them for people


def test_examples_are_kept_balanced_and_teach_a_verifier(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    sweeps = [street(generator, wall_m) for wall_m in (12.0, 20.0)]
    paths = make_examples(sweeps, tmp_path / "examples", {"": 12}, seed=0)
    before = [path.stat().st_mtime_ns for path in paths]
    assert make_examples(sweeps, tmp_path / "examples", {"": 12}, seed=0) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    examples = Examples.load(paths)
    assert {CLUTTER, PERSON, RIDER} <= set(examples.classes[examples.domain == CAST].tolist())
    weights, body = weights_of(examples, FitConfig()), np.isin(examples.classes, (PERSON, RIDER))
    shares = [[weights[(body == b) & (examples.domain == d)].sum() for d in (REAL, CAST)] for b in (False, True)]
    assert shares[0][0] == pytest.approx(shares[0][1])
    verifier = fit(examples, FitConfig(networks=1, epochs=40), seed=0)
    verifier.save(tmp_path / "v.safetensors", {"seed": "0"})
    scores, _ = load_verifier(str(tmp_path / "v.safetensors"))(examples.evidence)
    assert scores[body].mean() > scores[~body].mean() + 0.4


def test_all_made_up_things_can_be_met_by_a_beam() -> None:
    generator = np.random.default_rng(3)
    angle = np.linspace(-0.4, 0.4, 200)
    rays = np.concatenate([np.stack([np.cos(angle), np.sin(angle), np.full(200, slope)], axis=1) for slope in np.linspace(-0.3, 0.1, 20)])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    for _ in range(60):
        thing, _ = random_thing(generator)
        distance = thing.meet(np.array([-5.0, 0.0, 1.0]), rays, generator)
        assert np.isfinite(distance).any()
        assert distance.min() > 1.0


def test_the_shipped_verifier_reads_what_is_measured_and_others_are_refused(tmp_path: Path) -> None:
    shipped = find_weights("person_verifier.safetensors")
    assert Verifier.load(shipped).names == EVIDENCE
    assert shipped.stat().st_size < 1_000_000
    other = tmp_path / "other.safetensors"
    save_file(
        {"mean": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)}, str(other), {"format": FORMAT, "evidence": json.dumps(["a"])}
    )
    with pytest.raises(ValueError, match="other evidence"):
        PersonDetector(DetectionConfig(verifier=str(other)))
    with pytest.raises(ValueError, match="holds 'something else', not 'person_verifier 1'; train one"):
        load_verifier(str(find_weights("scene_jepa.safetensors")))
    other.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"other.safetensors is not a safetensors file"):
        load_verifier(str(other))
