"""Every `make bench-*` starts: one that what it measures has been changed under is found here, not when its figures are needed."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import pytest
from paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
BENCHES = re.search(r"^BENCHES := (.+)$", MAKEFILE, re.MULTILINE)[1].split()
MODULES = dict(re.findall(r"^(bench-[a-z0-9-]+): MODULE = (\S+)$", MAKEFILE, re.MULTILINE))
NEEDS_ROS = ("planning_latency.load", "faults.")


def test_every_bench_has_its_module() -> None:
    assert sorted(MODULES) == sorted(BENCHES)


@pytest.mark.parametrize("bench", sorted(MODULES))
def test_it_starts_and_tells_its_options(bench, monkeypatch, capsys) -> None:
    if MODULES[bench].startswith(NEEDS_ROS):
        needs_ros()
    module = importlib.import_module(f"experiments.{MODULES[bench]}")
    monkeypatch.setattr(sys, "argv", [bench, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code in (0, None)
    assert "--" in capsys.readouterr().out


def test_the_load_bench_says_what_a_world_model_says() -> None:
    """The made-up crowd in messages of now, as the planner reads them: nobody and nothing is lost on the way."""
    needs_ros()
    from rclpy.serialization import serialize_message

    from experiments.planning_latency import crowd
    from jepa_ros.backends import load_world_model
    from jepa_ros.ros import readers

    spec = load_world_model("persistence", device="cpu").spec
    state = crowd.crowd_state(people=7, spec=spec, seed=1)
    said = crowd.messages(state, spec, now_ns=5_000_000_000)
    people = readers.moving_of(said["pedestrians"])
    assert len(people.positions_m) == 7
    np.testing.assert_allclose(people.positions_m, state.people.positions_m, atol=1e-6)
    occupancy = readers.occupancy_of(said["occupancy"])
    assert occupancy.probability.shape == state.occupancy.probability.shape
    assert {message.header.stamp.sec for message in said.values()} == {5}
    for message in said.values():
        assert serialize_message(message)


def test_planning_is_timed_and_its_quality_compared() -> None:
    from experiments.planning_latency import report

    row = report.measure(report.ROWS[1], people=2, repeats=3)
    assert 0.0 < row["p50_ms"] <= row["p99_ms"]
    found = report.quality((0.2,), people=2, scenes=2)
    assert {one["solver"] for one in found} == set(report.COMPARED)


def needs_ros() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
    pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
