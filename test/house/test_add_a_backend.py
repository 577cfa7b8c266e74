"""Parts that a package of somebody's own adds: docs/add_a_backend.md is followed to the letter, built and installed by pip."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from jepa_ros.backends import BACKENDS, load_world_model
from jepa_ros.forecast import Tracks, load_forecaster
from jepa_ros.objects.loading import load_detector
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.protocols import WorldModel
from jepa_ros.sensing import open_bag

GUIDE = (ROOT / "docs" / "add_a_backend.md").read_text()
MOST_LINES = 60
# A forecaster and a detector, as small as they can be.
PARTS = '''
import numpy as np
from jepa_ros.forecast import load_forecaster
from jepa_ros.types import Detections


class Statue:
    """One person, two metres ahead, whatever is seen."""

    def __init__(self, config):
        self.config = config

    def detect_in(self, observation):
        one = np.ones(1)
        return Detections(np.array([[2.0, 0.0]]), 0.3 * one, one, 1.7 * one, 0.0 * one)


class Backwards:
    def predict(self, tracks, scene=None):
        return load_forecaster("constant_velocity").predict(type(tracks)(tracks.positions_m[:, ::-1], tracks.valid[:, ::-1], tracks.dt_s))
'''


def install(source: Path, target: Path) -> None:
    """As a user's `pip install .` does, but into a folder of its own and without the network."""
    words = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, "--target", str(target), str(source)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def package(folder: Path, name: str, module: str, source: str, points: dict[str, str]) -> Path:
    """A package of one module that offers `points`: group -> "NAME = ..."."""
    folder.mkdir()
    guide = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL).group(1)
    head = guide[: guide.index("[project.entry-points")].replace("jepa-ros-colours", name).replace("colours", module)
    tables = "".join(f'[project.entry-points."{group}"]\n{line}\n' for group, line in points.items())
    (folder / "pyproject.toml").write_text(head + tables)
    (folder / f"{module}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """The folder that holds the guide's package after doing what the guide says."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for language, name in (("python", "colours.py"), ("toml", "pyproject.toml")):
        (source / name).write_text(re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL).group(1))
    install(source, target)
    return target


def test_the_guides_package_is_found_and_runs_on_a_bag(followed, monkeypatch):
    assert "colours" not in BACKENDS
    monkeypatch.syspath_prepend(followed)
    assert set(BACKENDS) >= {"colours", "scene_jepa", "persistence"}, "ours are listed whether or not our own metadata is installed"
    pipeline = WorldModelPipeline.load("colours", device="cpu")
    assert isinstance(pipeline.model, WorldModel)
    states = [pipeline.step(observation) for observation in open_bag(ROOT / "test" / "resources" / "tiny_bag")]
    assert len(states) > 3
    last, spec = states[-1], pipeline.spec
    assert last.latent.shape == spec.latent_shape
    assert last.predicted.shape == (spec.horizon, *spec.latent_shape)
    assert np.isfinite(last.predicted).all()
    assert np.ptp(last.predicted, axis=0).max() > 0.0, "a moving scene is extrapolated"


def test_a_forecaster_and_a_detector_of_ones_own(tmp_path, monkeypatch):
    points = {"jepa_ros.forecasters": 'backwards = "parts:Backwards"', "jepa_ros.detectors": 'statue = "parts:Statue"'}
    install(package(tmp_path / "source", "parts-of-mine", "parts", PARTS, points), tmp_path / "target")
    monkeypatch.syspath_prepend(tmp_path / "target")
    config = PipelineConfig(forecaster="backwards", detector="statue")
    pipeline = WorldModelPipeline.load("persistence", device="cpu", config=config)
    for observation in open_bag(ROOT / "test" / "resources" / "tiny_bag"):
        state = pipeline.step(observation)
    ahead_m = np.linalg.inv(state.anchor_pose) @ [*state.people.positions_m[0], 0.0, 1.0]
    assert len(state.people.ids) == 1
    assert np.allclose(ahead_m[:2], [2.0, 0.0], atol=0.5), "the tracker smooths what the detector found"
    walk = Tracks(np.arange(16.0).reshape(1, 8, 2), np.ones((1, 8), bool), dt_s=0.4)
    assert load_forecaster("backwards").predict(walk).most_likely()[0, -1, 0] < walk.positions_m[0, 0, 0]


def test_what_cannot_be_loaded_says_which_package_and_why(tmp_path, monkeypatch):
    broken = {"jepa_ros.backends": 'broken = "broken:load"\npersistence = "broken:load"\ntwice = "broken:load"'}
    install(package(tmp_path / "a", "broken-one", "broken", "import no_such_module\n", broken), tmp_path / "target")
    install(package(tmp_path / "b", "other-one", "other", "", {"jepa_ros.backends": 'twice = "other:load"'}), tmp_path / "target")
    monkeypatch.syspath_prepend(tmp_path / "target")
    with pytest.raises(ValueError, match=r"'broken' .* of broken-one 1\.0 .*no_such_module"):
        load_world_model("broken", device="cpu")
    with pytest.raises(ValueError, match=r"'twice' is offered by broken-one 1\.0 and other-one 1\.0"):
        load_world_model("twice", device="cpu")
    assert load_world_model("persistence", device="cpu").spec.name == "persistence", "our names are ours"
    with pytest.raises(ValueError, match="unknown detector 'no_such'; choose one of lidar_columns"):
        load_detector("no_such")


def test_a_back_end_stays_short():
    assert re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL).group(1).count("\n") < MOST_LINES
    assert (ROOT / "jepa_ros" / "backends" / "ijepa.py").read_text().count("\n") < MOST_LINES
