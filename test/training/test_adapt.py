"""`adapt`: no frame of the held-out part is learned from, what is worse says so, and a run that was stopped goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import RESOURCES
from test_training import TINY, write_drive

from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.critic import CriticConfig, CriticNetwork, critic_path, fingerprint, save_critic
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.training.__main__ import main
from jepa_ros.training.adapt import command, critic, examples, judge, learn
from jepa_ros.training.adapt.config import FAMILIES, AdaptConfig, learned_parameters
from jepa_ros.training.adapt.split import split
from jepa_ros.training.world_model.shard import Shard, open_shards

TINY_BAG = RESOURCES / "tiny_bag"
PARENT: SceneJepaConfig = TINY
CONFIG = AdaptConfig(
    held_out=0.5, stored=2, batch=1, targets=1, steps=6, judge_every=2, judged=2, learning_rate=0.01, warmup=1, others=0, critic_steps=2
)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> SceneJepa:
    """Weights with much to learn, and their critic."""
    torch.manual_seed(0)
    model = SceneJepa(PARENT, "0")
    for parameter in model.predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        assert model.occupancy_head is not None
        model.occupancy_head.direct.bias += 4.0  # free cells are called occupied
    path = tmp_path_factory.mktemp("weights") / "parent.safetensors"
    save(model, path, "0", {})
    save_critic(CriticNetwork(CriticConfig(width=2, dilations=(1,))), model, critic_path(path), {})
    return load("cpu", path)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_drive(root / "drive_000")  # one bag that lies in two shards
    write_drive(root / "drive_001", frames=6)
    return root


@pytest.fixture(scope="module")
def stored(parent: SceneJepa, drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of examples to learn from and to judge on."""
    root = tmp_path_factory.mktemp("stored")
    parts = split(open_shards(drives), CONFIG.held_out)
    examples.store(parent, examples.to_learn(parent, parts.learn, CONFIG), [0, 1], root / "learn", "store")
    judged = examples.to_judge(parent, parts.held, CONFIG)
    examples.store(parent, judged, examples.spread_out(len(judged), 2), root / "held", "store")
    return root


def held(stored: Path) -> list[Path]:
    return sorted((stored / "held").glob("*.pt"))


def test_a_bag_is_cut_in_time_whatever_shards_it_lies_in(drives: Path) -> None:
    parts = split(open_shards(drives), 0.25)
    assert [len(shard) for shard in parts.learn] == [8, 2]  # of 14 frames the last 4 are held out
    assert [len(shard) for shard in parts.held] == [4]
    parts = split(open_shards(drives), 0.5, (0.0, 0.5))
    assert ([len(shard) for shard in parts.learn], [len(shard) for shard in parts.held]) == ([4], [3])
    with pytest.raises(ValueError, match="too few"):
        split([], 0.5)


def test_no_frame_of_the_held_out_part_is_learned_from(parent: SceneJepa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame that is read for learning, of windows and of the critic, lies before the cut; every one to judge on after it."""
    read: list[int] = []
    frame_of = Shard.__getitem__

    def watched(self: Shard, number: int) -> object:
        frame = frame_of(self, number)
        read.append(frame.stamp_ns)
        return frame

    monkeypatch.setattr(Shard, "__getitem__", watched)
    material = command.gather(parent, [TINY_BAG], tmp_path, CONFIG)
    (whole,) = open_shards(tmp_path / "data")
    cut_ns = int(whole.stamps_ns[len(whole) // 2])

    def reads_of(shards: list[Shard], windows_of: object, folder: str) -> list[int]:
        read.clear()
        examples.store(parent, windows_of(parent, shards, CONFIG), [0], tmp_path / folder, "again")  # type: ignore[operator]
        critic.stream(parent, shards)
        return list(read)

    learned = reads_of(material.parts.learn, examples.to_learn, "a")
    judged = reads_of(material.parts.held, examples.to_judge, "b")
    assert learned
    assert judged
    assert max(learned) < cut_ns <= min(judged)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    parent: SceneJepa, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = learn.learn(load("cpu", parent.weights), stored / "learn", held(stored), tmp_path / "a.pt", CONFIG)
    look = learn._look

    def stopped(model: SceneJepa, optimizer: object, files: object, course: learn.Course, *rest: object) -> None:
        if course.step == 4:
            raise KeyboardInterrupt
        look(model, optimizer, files, course, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(learn, "_look", stopped)
    with pytest.raises(KeyboardInterrupt):
        learn.learn(load("cpu", parent.weights), stored / "learn", held(stored), tmp_path / "b.pt", CONFIG)
    monkeypatch.setattr(learn, "_look", look)
    resumed = learn.learn(load("cpu", parent.weights), stored / "learn", held(stored), tmp_path / "b.pt", CONFIG)
    assert [step for step, _ in resumed.looks] == [0, 2, 4, 6]
    assert [nats for _, nats in resumed.looks] == pytest.approx([nats for _, nats in unbroken.looks], rel=1e-5)
    torch.testing.assert_close(resumed.best, unbroken.best, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="other options"):
        learn.learn(load("cpu", parent.weights), stored / "learn", held(stored), tmp_path / "b.pt", dataclasses.replace(CONFIG, seed=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_is_named_learns_and_never_the_encoder(parent: SceneJepa, family: str) -> None:
    model = load("cpu", parent.weights)
    ids = {id(parameter) for parameter in learned_parameters(model, family)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in ids}
    assert names
    assert not any(name.startswith("encoder.") for name in names)
    assert family != "probe" or all(name.startswith(("occupancy_probe.", "occupancy_head.")) for name in names)


def test_what_is_paid_for_elsewhere_is_not_kept(parent: SceneJepa, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("cpu", parent.weights)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    course = learn.learn(model, stored / "learn", held(stored), tmp_path / "c.pt", CONFIG)
    assert course.best_step > 0
    config = dataclasses.replace(CONFIG, shares=(0.5, 1.0))
    costs = {0.0: 0.0, 0.5: 0.005, 1.0: 0.05}

    def judged(weights: SceneJepa, files: list[Path]) -> judge.Scores:
        scores = real(weights, held(stored))
        if files:
            return scores
        name = "occupancy_probe.direct.bias"
        moved = weights.state_dict()[name] - start[name]
        share = round(float((moved / (course.best[name] - start[name])).mean()), 2)
        return dataclasses.replace(scores, average_precision=[0.5 - costs[share]], iou=[0.5])

    real = judge.judge
    monkeypatch.setattr(learn, "judge", lambda weights, files: judged(weights, files if files != [Path("others")] else []))
    chosen, tried = learn.best_mixture(model, start, course, held(stored), [Path("others")], config)
    assert list(tried) == [0.0, 0.5, 1.0]
    assert tried[1.0].forgotten == pytest.approx(0.05)
    assert chosen == 0.5


def test_a_critic_that_other_worlds_pay_for_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    network = CriticNetwork(CriticConfig(width=2, dilations=(1,))).requires_grad_(False)
    fitted = CriticNetwork(network.config).requires_grad_(False)
    fitted.load_state_dict({name: tensor + 1 for name, tensor in network.state_dict().items()})
    sample = critic.Sample(torch.zeros(0), np.eye(4), torch.zeros(0), torch.zeros(0))

    def judged(judged_network: CriticNetwork, before: list[critic.Sample], held: list[critic.Sample]) -> critic.Surprise:
        share = float((judged_network.last.bias - network.last.bias).mean())
        nats = 0.1 - 0.02 * share if before else 0.05 * (1 + 0.08 * share**3)  # better on the street, worse elsewhere
        return critic.Surprise(1, nats, 0, float("nan"), float("nan"))

    monkeypatch.setattr(critic, "fit", lambda *args: fitted)
    monkeypatch.setattr(critic, "judge", judged)
    found = critic.fit_on(network, [sample], [sample], [sample], steps=1, seed=0)
    assert found.held.nats == pytest.approx(0.09)  # half of it
    assert critic.fit_on(network, [sample], [sample], [], steps=1, seed=0).held.nats == pytest.approx(0.08)  # nobody else is asked


def run(parent: SceneJepa, out: Path, config: AdaptConfig, *more: str) -> int:
    """The command with a configuration file; the exit code."""
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_suffix(".yaml")
    chosen = {
        "held_out": 0.5,
        **{f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in ("part", "sensors", "shares")},
    }
    file.write_text(json.dumps(chosen))  # JSON is YAML
    try:
        return main(["adapt", str(TINY_BAG), "--out", str(out), "--weights", str(parent.weights), "--config", str(file), *more])
    except SystemExit as end:
        return int(end.code or 0)


def test_better_weights_are_written_with_report_and_critic(parent: SceneJepa, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(parent, out, dataclasses.replace(CONFIG, steps=40, targets=3)) == 0
    said = capsys.readouterr().out
    assert "Better on the held-out part" in said
    assert "Later steps were NOT judged" in said  # the bag's end reaches one step of three
    adapted = load("cpu", out / "scene_jepa.safetensors")
    assert fingerprint(adapted) != fingerprint(parent)
    assert adapted.critic() is not None  # its own: surprise does not fall back to the plain error
    report = json.loads((out / "report.json").read_text())
    assert report["better"]
    assert report["parent"]["fingerprint"] == fingerprint(parent)
    assert report["after"]["held"]["mean"]["nats"] < report["before"]["held"]["mean"]["nats"]
    assert (out / "report.txt").read_text() in said
    assert (out / "report.png").stat().st_size > 10_000
    assert run(parent, out, dataclasses.replace(CONFIG, steps=41)) == 2  # one folder is one run
    assert "other bags, options or weights" in capsys.readouterr().err


def test_a_run_that_makes_things_worse_says_so_and_writes_no_weights(
    parent: SceneJepa, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(parent, out, dataclasses.replace(CONFIG, learning_rate=30.0, steps=2)) == command.NOT_BETTER
    assert "NOT BETTER on the held-out part" in capsys.readouterr().out
    assert not list(out.glob("*.safetensors"))
    report = json.loads((out / "report.json").read_text())
    assert not report["better"]
    assert report["after"]["held"]["average_precision"][0] == report["before"]["held"]["average_precision"][0]  # the parent's


def test_a_bag_that_gives_nothing_is_named_with_the_reason(parent: SceneJepa, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.mcap has no frame with lidar and odometry to learn from: unreadable"):
        command.gather(parent, [TINY_BAG, tmp_path / "absent.mcap"], tmp_path, CONFIG)


def test_a_run_that_is_stopped_says_how_to_go_on(
    parent: SceneJepa, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "loss_of", interrupt)
    assert run(parent, tmp_path / "out", CONFIG) == command.STOPPED
    assert "the same command goes on" in capsys.readouterr().out
