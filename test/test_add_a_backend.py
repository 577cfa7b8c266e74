"""docs/add_a_backend.md is followed to the letter: its file, its line, its name."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import jepa_ros.backends
from jepa_ros.backends.registry import BACKENDS, _lazy
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.protocols import WorldModel
from jepa_ros.sensing import open_bag

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "add_a_backend.md").read_text()
MOST_LINES = 60


@pytest.fixture
def followed(tmp_path, monkeypatch) -> str:
    """The name of the back-end after doing what the guide says."""
    (tmp_path / "colours.py").write_text(re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL).group(1))
    monkeypatch.setattr(jepa_ros.backends, "__path__", [*jepa_ros.backends.__path__, str(tmp_path)])
    name, loader = re.search(r'`"(\w+)": (_lazy\(.*?\)),`', GUIDE).groups()
    monkeypatch.setitem(BACKENDS, name, eval(loader, {"_lazy": _lazy}))
    yield name
    sys.modules.pop("jepa_ros.backends.colours", None)


def test_the_guide_gives_a_back_end_that_runs_on_a_bag(followed):
    pipeline = WorldModelPipeline.load(followed, device="cpu")
    assert isinstance(pipeline.model, WorldModel)
    states = [pipeline.step(observation) for observation in open_bag(ROOT / "test" / "resources" / "tiny_bag")]
    assert len(states) > 3
    last, spec = states[-1], pipeline.spec
    assert last.latent.shape == spec.latent_shape
    assert last.predicted.shape == (spec.horizon, *spec.latent_shape)
    assert np.isfinite(last.predicted).all()
    assert np.ptp(last.predicted, axis=0).max() > 0.0, "a moving scene is extrapolated"


def test_the_guide_and_what_follows_it_are_short():
    assert GUIDE.count("\n") < MOST_LINES
    assert (ROOT / "jepa_ros" / "backends" / "ijepa.py").read_text().count("\n") < MOST_LINES
