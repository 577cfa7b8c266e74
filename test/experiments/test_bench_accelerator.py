"""`make bench-gpu --dry` runs through on any machine."""

import json

import pytest

from experiments.accelerator import flame
from experiments.accelerator.report import main
from experiments.accelerator.scenes import observation


@pytest.mark.timeout(300)
def test_the_dry_run_measures_everything(tmp_path, capsys):
    assert main(["--dry", "--device", "cpu", "--engine", "eager", "--out", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["device"]
    (row,) = found["step"]
    assert {"encode", "predict", "people", "all"} <= set(row["ms"])
    assert all(0 <= ms["p50"] <= ms["p99"] for ms in row["ms"].values())
    assert row["ms"]["all"]["p50"] >= row["ms"]["predict"]["p50"] > 0
    assert min(found["training"]["windows_per_s"], found["vjepa2_ac"]["futures_per_s"], found["plan"]["ms"]["p50"]) > 0
    assert "windows/s" in capsys.readouterr().out


def test_a_made_up_scene_holds_what_is_asked_for():
    seen = observation(3, 50_000, 2, 7, (640, 360))
    assert len(seen.lidar.points_m) == 50_000
    assert [camera.rgb.shape for camera in seen.cameras] == [(360, 640, 3)] * 2


def test_a_flame_graph_holds_the_samples_of_each_thread_and_this_package_alone(tmp_path):
    step = "main (x.py:1);WorldModelPipeline._step (jepa_ros/pipeline.py:9)"
    stacks = [
        f"{step};encode (jepa_ros/a.py:1);decorate (torch/b.py:2);SceneEncoder.forward (jepa_ros/c.py:3) 30",
        f"{step} 10",
        "idle (x.py:2) 50",
    ]
    root = flame.under(stacks, "WorldModelPipeline._step")
    (of_step,) = root.inner.values()
    assert (root.samples, of_step.samples) == (40, 40)
    assert of_step.inner["encode"].inner["SceneEncoder.forward"].samples == 30
    assert flame.short("SceneEncoder.forward") == "SceneEncoder"
    flame.draw([*stacks, "_with_torch_threads (jepa_ros/threads.py:1) 5"], 250.0, 4, tmp_path / "flame.png")
    assert (tmp_path / "flame.png").stat().st_size > 5_000
