"""The two-room benchmark in a room of the test's own: a dot on white, no wall. One test uses the real environment where it is installed."""

import importlib.util
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from experiments.two_room import report as two_room
from experiments.two_room import strict
from experiments.two_room.data import Frames, generate
from experiments.two_room.environment import GOAL_OFFSET, PIXELS, REACHED_PX, ROOM_PX, SWEPT, Episode, Trials, collect, draw_trials, judge
from experiments.two_room.model import TwoRoomModel, TwoRoomModelConfig
from experiments.two_room.planning import PixelPlanner, TwoRoomPlanning
from experiments.two_room.train import LatentTrainer, TwoRoomTraining, health, latent_losses, train
from jepa_ros.training import short_loop as forecaster_loop

needs_stable_worldmodel = pytest.mark.skipif(
    importlib.util.find_spec("stable_worldmodel") is None, reason="stable-worldmodel is not installed: make two-room-packages"
)
SPEED_PX = 5.0
TINY = TwoRoomTraining(
    steps=250, batch=16, frames=5, learning_rate=3e-3, distance_steps=200, distance_batch=256, model=TwoRoomModelConfig(8, 4, 64)
)


def image_of(position_px: np.ndarray) -> np.ndarray:
    """White, with a red dot."""
    places = (np.arange(PIXELS) + 0.5) * ROOM_PX / PIXELS
    dot = np.exp(-((places[:, None] - position_px[1]) ** 2 + (places - position_px[0]) ** 2) / (2 * 7.0**2))
    image = np.full((PIXELS, PIXELS, 3), 255.0)
    image[..., 1:] *= 1 - dot[..., None]
    return image.astype(np.uint8)


def images_of(positions_px: np.ndarray) -> np.ndarray:
    return np.stack([image_of(position) for position in positions_px])


def places_and_ways(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Places in the middle of the room, and a direction of length 1 from each."""
    rng = np.random.default_rng(9)
    angles = rng.uniform(0, 2 * np.pi, count)
    return rng.uniform(75, 150, (count, 2)), np.stack((np.cos(angles), np.sin(angles)), axis=1)


def walk(episodes: int, seed: int, steps: int = 40) -> list[Episode]:
    """Noisy walks to a random place."""
    walked = []
    for rng in (np.random.default_rng((seed, k)) for k in range(episodes)):
        positions, actions = [rng.uniform(20, 200, 2)], []
        goal = rng.uniform(20, 200, 2)
        for _ in range(steps):
            towards = (goal - positions[-1]) / max(np.linalg.norm(goal - positions[-1]), 1.0)
            actions.append(np.clip(towards + rng.normal(0, 0.4, 2), -1, 1))
            positions.append(np.clip(positions[-1] + SPEED_PX * actions[-1], 21, 203))
        images = images_of(np.array(positions))
        walked.append(Episode(images, np.array(actions, np.float32), np.array(positions, np.float32)))
    return walked


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    return generate(tmp_path_factory.mktemp("walks"), 30, 0, walk)


@pytest.fixture(scope="module")
def trained(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> TwoRoomModel:
    torch.set_num_threads(1)
    return train(frames, tmp_path_factory.mktemp("trained"), TINY)[0]


class Seer(TwoRoomModel):
    """A perfect model of a room without walls: its latent is where the dot is."""

    def __init__(self) -> None:
        super().__init__(TwoRoomModelConfig(width=2))

    def encode(self, images_BYX3: torch.Tensor) -> torch.Tensor:
        red = (images_BYX3[..., 0].float() - images_BYX3[..., 1]).clamp(min=0)
        red = torch.where(red > 25, red, 0)
        places = (torch.arange(PIXELS) + 0.5) * ROOM_PX / PIXELS
        weight = red.sum(dim=(1, 2)).clamp(min=1e-6)
        return torch.stack(((red.sum(1) @ places) / weight, (red.sum(2) @ places) / weight), dim=1)

    def step(self, latents_BD: torch.Tensor, actions_BA: torch.Tensor) -> torch.Tensor:
        return latents_BD + SPEED_PX * actions_BA


class WallSeer(Seer):
    """The same with a wall at x = 112 px that has its door at the top; its distance is the way through the door."""

    def step(self, latents_BD: torch.Tensor, actions_BA: torch.Tensor) -> torch.Tensor:
        after_BD = super().step(latents_BD, actions_BA)
        blocked = ((latents_BD[..., 0] < 112) != (after_BD[..., 0] < 112)) & (after_BD[..., 1] > 65)
        return torch.where(blocked[..., None], latents_BD, after_BD)

    def log_steps(self, from_BD: torch.Tensor, to_BD: torch.Tensor) -> torch.Tensor:
        door = torch.tensor([112.0, 50.0])
        apart = (from_BD[..., 0] < 112) != (to_BD[..., 0] < 112)
        around = (from_BD - door).norm(dim=-1) + (to_BD - door).norm(dim=-1)
        return torch.log1p(torch.where(apart, around, (from_BD - to_BD).norm(dim=-1)) / SPEED_PX)


def test_training_predicts_and_does_not_collapse(frames: Frames, trained: TwoRoomModel) -> None:
    learned = health(trained, frames)
    assert learned["over_persistence_5"] < 0.8
    assert learned["effective_rank"] > 3
    assert learned["position_r2"] > 0.5


def test_a_collapsed_encoder_is_noticed(frames: Frames) -> None:
    torch.manual_seed(0)
    model = TwoRoomModel(TINY.model)
    images, actions = frames.windows(np.random.default_rng(0), 8, 5)
    alive = torch.randn(8, 5, TINY.model.width)
    _, healthy = latent_losses(model, alive, actions, TINY, 0)
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
    _, collapsed = latent_losses(model, model.encode(images.flatten(0, 1)).unflatten(0, (8, 5)), actions, TINY, 0)
    assert collapsed["similarity"] < 1e-9  # which is all that prediction and similarity would want
    assert collapsed["anti_collapse"] > 0.9 > 3 * healthy["anti_collapse"]


def test_the_learned_distance_grows_with_the_way(trained: TwoRoomModel) -> None:
    starts, ways = places_and_ways()
    here, near, far = (trained.encode(torch.from_numpy(images_of(starts + way_px * ways))) for way_px in (0, 10, 45))
    assert (trained.log_steps(here, near) < trained.log_steps(here, far)).float().mean() > 0.8


def test_the_planner_goes_to_the_goal() -> None:
    position, goal = np.array([50.0, 60.0]), np.array([120.0, 150.0])
    planner = PixelPlanner(Seer(), TwoRoomPlanning(cost="l2"))
    for _ in range(24):
        action = planner(image_of(position)[None], image_of(goal)[None], np.array([False]))[0]
        assert (np.abs(action) <= 1).all()
        position = position + SPEED_PX * action
    assert np.linalg.norm(position - goal) < 8
    assert len(planner.plan_s) == 6
    planner(image_of(position)[None], image_of(goal)[None], np.array([True]))
    assert len(planner.plan_s) == 6  # nothing is planned for who is there


@pytest.mark.parametrize(("cost", "arrives"), [("distance", True), ("l2_last", False)])
def test_a_distance_in_time_leads_through_the_door(cost: str, arrives: bool) -> None:
    room, planner = WallSeer(), PixelPlanner(WallSeer(), TwoRoomPlanning(cost=cost))
    position, goal = np.array([80.0, 120.0]), np.array([150.0, 120.0])
    for _ in range(50):
        action = planner(image_of(position)[None], image_of(goal)[None], np.array([False]))[0]
        position = room.step(torch.from_numpy(position), torch.from_numpy(action)).numpy()
    assert (np.linalg.norm(position - goal) < REACHED_PX) == arrives


def test_parts_that_are_there_are_not_collected_again(tmp_path) -> None:
    asked: list[tuple[int, int]] = []

    def told(count: int, seed: int) -> list[Episode]:
        asked.append((count, seed))
        return walk(count, seed, steps=3)

    first = generate(tmp_path, 60, 7, told)
    (tmp_path / "1_images.npy").unlink()
    again = generate(tmp_path, 60, 7, told)
    assert asked == [(50, 7), (10, 507), (10, 507)]
    np.testing.assert_array_equal(first.actions, again.actions)
    window, _ = again.windows(np.random.default_rng(0), 16, 4)  # as long as an episode: none may reach into the next
    firsts = {episode.images[0].tobytes() for episode in again.episodes()}
    assert all(one[0].numpy().tobytes() in firsts for one in window)


def test_a_stopped_training_repeats_an_unbroken_one(frames: Frames, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(TINY, steps=5, distance_steps=2)
    unbroken, _ = train(frames, tmp_path / "unbroken", short)
    monkeypatch.setattr(forecaster_loop, "CHECKPOINT_EVERY", 2)
    losses = LatentTrainer.losses

    def killed(self: LatentTrainer, rng: np.random.Generator):
        if self.step == 3:
            raise KeyboardInterrupt
        return losses(self, rng)

    monkeypatch.setattr(LatentTrainer, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        train(frames, tmp_path / "stopped", short)
    monkeypatch.setattr(LatentTrainer, "losses", losses)
    resumed, _ = train(frames, tmp_path / "stopped", short)
    for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="other options"):
        train(frames, tmp_path / "stopped", replace(short, seed=1))


def test_trials_are_of_different_episodes_and_25_steps_apart() -> None:
    episodes = walk(6, 3)
    trials = draw_trials(episodes, 6, 0)
    for start, goal in zip(trials.start_px, trials.goal_px, strict=True):
        found = [np.flatnonzero((episode.positions_px == start).all(1)) for episode in episodes]
        ((episode, at),) = [(episode, at[0]) for episode, at in zip(episodes, found, strict=True) if len(at)]
        np.testing.assert_array_equal(episode.positions_px[at + GOAL_OFFSET], goal)
    assert len({tuple(start) for start in trials.start_px}) == 6
    with pytest.raises(ValueError, match="6 of 6 episodes"):
        draw_trials(episodes, 7, 0)


def test_the_summary_counts_all_seeds() -> None:
    one = {"identity": {"trials": 4}, "train_processor_s": 1.0, "health": {}}
    reached = {"plain": 3, "strict": 2}
    rules = {
        rule: {name: {"reached": count, "near": 3, "failed": [0], "plan_s": [0.1, 0.3]} for name in two_room.METHODS}
        for rule, count in reached.items()
    }
    summary = two_room.summarise([one | rules, one | rules])
    told = summary["plain"][two_room.BEST]
    assert told["percent"] == 75
    assert told["wilson"][0] < 0.75 < told["wilson"][1]
    assert told["plan_median_s"] == pytest.approx(0.2)
    assert summary["strict"][two_room.BEST]["percent"] == 50
    assert summary["strict"][two_room.BEST]["near"] == [3, 3]


def distance_of_segments(way_px: np.ndarray) -> float:
    """From the wall's corners and edges at the door to the way, by dense sampling: written anew, to check `clearance_px`."""
    dense = np.concatenate([np.linspace(a, b, 50) for a, b in pairwise(way_px)])
    grid = np.linspace(107, 117, 41)
    wall = np.concatenate(
        [np.stack((grid, np.full(41, y)), axis=1) for y in (35, 63)]
        + [np.stack((np.full(160, x), np.linspace(low, high, 160)), axis=1) for x in (107, 117) for low, high in ((0, 35), (63, 224))]
    )
    return float(np.linalg.norm(dense[:, None] - wall, axis=-1).min())


def test_a_disc_is_swept_along_its_whole_way() -> None:
    # Steps that end free on the other side, which is all that the package looks at, pass only where the whole disc fits.
    through, hits_the_frame, through_the_wall = (strict.sweep(np.array([99.0, y]), np.array([125.0, y])) for y in (49, 38, 120))
    np.testing.assert_allclose(through[-1], [125, 49])
    assert 42 <= hits_the_frame[np.argmin(np.abs(hits_the_frame[:, 0] - 112)), 1] <= 56  # it slides round the frame, into the middle
    np.testing.assert_allclose(through_the_wall[-1], [100, 120], atol=1e-9)
    for way in (through, hits_the_frame, through_the_wall):
        assert strict.is_free(way)
        assert distance_of_segments(way) >= strict.RADIUS_PX - 0.01
    straight = np.linspace([99.0, 38.0], [125.0, 38.0], 20)
    assert not strict.is_free(straight)
    assert strict.is_free(straight[[0, -1]])  # both ends are free
    np.testing.assert_allclose(strict.sweep(np.array([30.0, 30.0]), np.array([10.0, 40.0]))[-1], [21, 40])  # the border


def test_only_goals_of_the_other_room_count_and_only_where_the_disc_is_free() -> None:
    starts = np.array([[60.0, 100], [60, 100], [60, 100], [98, 34], [110, 49]])
    goals = np.array([[160.0, 100], [60, 180], [123, 100], [160, 50], [114, 49]])
    # across; the same room; a goal that touches the wall; across, beside the frame; in the door, but already there
    np.testing.assert_array_equal(strict.counts(starts, goals), [True, False, False, True, False])


@needs_stable_worldmodel
def test_the_real_rooms() -> None:
    episodes = collect(12, 5)
    # Where nothing is hit, a step is 5 px of the action that is kept beside it.
    error = [np.diff(episode.positions_px, axis=0) - SPEED_PX * episode.actions for episode in episodes]
    assert np.median(np.abs(np.concatenate(error)), axis=0).max() < 1e-3
    trials = draw_trials(episodes, 4, 0)
    planner = PixelPlanner(Seer(), TwoRoomPlanning(cost="l2"))
    outcome = judge(trials, planner)
    np.testing.assert_allclose(outcome.paths_px[:, 0], trials.start_px)
    same_room = (trials.start_px[:, 0] < 100) == (trials.goal_px[:, 0] < 100)
    assert same_room.any()
    assert outcome.success[same_room].all()
    stay = judge(trials, lambda images, goals, done: np.zeros((4, 2)))
    near = np.linalg.norm(trials.start_px - trials.goal_px, axis=1) < REACHED_PX
    np.testing.assert_array_equal(stay.success, near)
    np.testing.assert_array_equal(stay.nearest_px < REACHED_PX, near)


@needs_stable_worldmodel
def test_the_strict_rule_in_the_real_rooms() -> None:
    episodes = collect(6, 5, SWEPT)
    assert all(strict.is_free(episode.positions_px[1:]) for episode in episodes if len(episode.actions))
    # One stands at its goal, one walks past its own within 8 px for four steps, one is pushed along the wall, one goes through the door.
    starts = np.array([[60.0, 100], [60, 150], [95, 120], [90, 49]], np.float32)
    goals = np.array([[63.0, 100], [75, 150], [130, 120], [130, 49]], np.float32)
    blank = np.zeros((4, PIXELS, PIXELS, 3), np.uint8)
    trials = Trials(blank, blank, starts, goals)

    def act(images: np.ndarray, *_: object) -> np.ndarray:
        act.steps += 1
        last = [0.0, 0.0] if act.steps > 8 else [1.0, 0.0]
        return np.array([[0.0, 0.0], [0.8, 0.0], [1.0, 0.0], last])

    act.steps = 0
    outcome = judge(trials, act, strictly=True)
    np.testing.assert_array_equal(outcome.success, [True, False, False, True])
    assert outcome.nearest_px[1] < strict.REACHED_PX
    assert outcome.paths_px[2, :, 0].max() < 101
    passing = np.linalg.norm(outcome.paths_px[1] - goals[1], axis=1) < strict.REACHED_PX
    assert np.count_nonzero(passing) == strict.HELD_STEPS - 1
