"""stable-worldmodel's TwoRoom: the only module that knows that package. Frames come from its own `World.collect`, success from its own
`World.evaluate`.

A dot in two rooms with one door. Positions are pixels of the 224 x 224 rendering, actions (dx, dy) in [-1, 1], 5 px a step at most in each;
reached means within 16 px of the goal. Models get the frames at 64 x 64 and nothing else.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.two_room import strict
from jepa_ros.types import FloatArray

ENVIRONMENT = "swm/TwoRoom-v1"
SWEPT = "jepa/SweptTwoRoom-v0"  # the same, with the disc moved along its whole way; see `strict`
PIXELS = 64
ROOM_PX = 224
REACHED_PX = 16.0
GOAL_OFFSET = 25
BUDGET = 50
INSTALL = "make two-room-packages installs it and what it needs"

Images = NDArray[np.uint8]
# (N, Y, X, 3) images, (N, Y, X, 3) goals, (N,) whether already there -> (N, 2) actions
Act = Callable[[Images, Images, NDArray[np.bool_]], FloatArray]
# (N, 2) starts, (N, 2) goals -> (N,) whether the pair may be judged
Counts = Callable[[FloatArray, FloatArray], NDArray[np.bool_]]


@dataclass(frozen=True)
class Episode:
    """One expert episode: `actions[t]` leads from frame t to t + 1."""

    images: Images  # (T, Y, X, 3)
    actions: FloatArray  # (T - 1, 2)
    positions_px: FloatArray  # (T, 2); for judging only


@dataclass(frozen=True)
class Trials:
    """Where N judged episodes begin, and what they are to reach."""

    start_images: Images  # (N, Y, X, 3)
    goal_images: Images
    start_px: FloatArray  # (N, 2)
    goal_px: FloatArray

    def __len__(self) -> int:
        return len(self.start_px)


@dataclass(frozen=True)
class Outcome:
    """What came of N trials."""

    success: NDArray[np.bool_]  # (N,)
    paths_px: FloatArray  # (N, steps, 2) position before each step
    nearest_px: FloatArray  # (N,) least distance from the goal after any step


def stable_worldmodel() -> ModuleType:
    """The package, its environments registered. Raises ImportError naming the fix."""
    with _torchvision_stand_in(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about Atari, which nobody here plays
        try:
            import stable_worldmodel
            import stable_worldmodel.envs
        except ImportError as error:
            raise ImportError(f"stable-worldmodel cannot be imported ({error}); {INSTALL}") from error
    # Gymnasium warns at every step that observations are tensors.
    warnings.filterwarnings("ignore", module="gymnasium.*")
    _register_swept()
    return stable_worldmodel


def _register_swept() -> None:
    """Make SWEPT known to gymnasium."""
    import gymnasium
    from stable_worldmodel.envs.two_room.env import TwoRoomEnv

    class SweptTwoRoom(TwoRoomEnv):
        """TwoRoom whose dot is a disc between two steps, too. Done once it was within `reached_px` at `held_steps` steps in a row."""

        def __init__(self, reached_px: float = REACHED_PX, held_steps: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._reached_px, self._held_steps = reached_px, held_steps
            self._held = 0

        def _apply_collisions(self, pos1: torch.Tensor, pos2: torch.Tensor) -> torch.Tensor:
            way_px = strict.sweep(pos1.numpy(), pos2.numpy())
            assert strict.is_free(way_px), f"the disc went through the wall on its way from {pos1} to {pos2}"
            return torch.as_tensor(way_px[-1], dtype=torch.float32)

        def _set_goal_state(self, goal_state: FloatArray) -> None:
            super()._set_goal_state(goal_state)
            self._held = 0

        def step(self, action: FloatArray) -> tuple[Any, ...]:
            observation, reward, _, truncated, info = super().step(action)
            self._held = self._held + 1 if info["distance_to_target"] < self._reached_px else 0
            return observation, reward, self._held >= self._held_steps, truncated, info

    if SWEPT not in gymnasium.registry:
        gymnasium.register(SWEPT, SweptTwoRoom)


@contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    """stable-worldmodel imports torchvision for the name of a type that nothing here uses; it has no build for every torch."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    names = ("torchvision", "torchvision.tv_tensors")
    for name in names:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    sys.modules[names[0]].tv_tensors = sys.modules[names[1]]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def collect(episodes: int, seed: int, environment: str = ENVIRONMENT) -> list[Episode]:
    """Noisy expert episodes as the published data were made; the seed is of rooms and noise."""
    swm = stable_worldmodel()
    from stable_worldmodel.envs.two_room import ExpertPolicy

    world = swm.World(environment, num_envs=10, image_shape=(PIXELS, PIXELS), max_episode_steps=1000)
    world.set_policy(ExpertPolicy(action_noise=2.0, action_repeat_prob=0.05, seed=seed))
    kept = _Kept()
    world.collect(writer=kept, episodes=episodes, seed=seed, progress=False)
    world.close()
    return kept.episodes


class _Kept:
    """A stable-worldmodel writer that keeps episodes in memory."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write_episodes(self, episodes: Iterable[dict[str, Any]]) -> None:
        for columns in episodes:
            # The last action leads out of the episode.
            actions = np.array(columns["action"], np.float32)[:-1]
            self.episodes.append(Episode(np.array(columns["pixels"], np.uint8), actions, np.array(columns["proprio"], np.float32)))


def draw_trials(episodes: list[Episode], count: int, seed: int, counts: Counts | None = None) -> Trials:
    """`count` different episodes; the start uniform over all frames that have another one GOAL_OFFSET steps later, which is the goal.

    With `counts`, only pairs of which it is true.
    """
    rows = []
    for k, episode in enumerate(episodes):
        starts_px, goals_px = episode.positions_px[:-GOAL_OFFSET], episode.positions_px[GOAL_OFFSET:]
        chosen = range(len(starts_px)) if counts is None else np.flatnonzero(counts(starts_px, goals_px)).tolist()
        rows += [(k, t) for t in chosen]
    start_of: dict[int, int] = {}
    for row in np.random.default_rng(seed).permutation(len(rows)):
        start_of.setdefault(*rows[row])
        if len(start_of) == count:
            break
    else:
        raise ValueError(
            f"{len(start_of)} of {len(episodes)} episodes have a goal {GOAL_OFFSET} steps after a start, {count} are wanted; collect more"
        )
    starts = [(episodes[k], t) for k, t in start_of.items()]
    return Trials(
        np.stack([episode.images[t] for episode, t in starts]),
        np.stack([episode.images[t + GOAL_OFFSET] for episode, t in starts]),
        np.stack([episode.positions_px[t] for episode, t in starts]),
        np.stack([episode.positions_px[t + GOAL_OFFSET] for episode, t in starts]),
    )


def judge(trials: Trials, act: Act | None, seed: int = 0, strictly: bool = False) -> Outcome:
    """`World.evaluate` from the trials as a data set, within BUDGET steps; None = the package's random policy, with this seed.

    `strictly`: the disc is moved along its whole way, and has to be within 8 px of the goal at five steps in a row.
    """
    swm = stable_worldmodel()
    rule = {"reached_px": strict.REACHED_PX, "held_steps": strict.HELD_STEPS} if strictly else {}
    world = swm.World(
        SWEPT if strictly else ENVIRONMENT, num_envs=len(trials), image_shape=(PIXELS, PIXELS), max_episode_steps=2 * BUDGET, **rule
    )
    if act is None:
        random = swm.policy.RandomPolicy(seed=seed)
        random.set_env(world.envs)
        random.set_seed(seed)
    policy = _Watched(world, act or (lambda *_: random.get_action({})))
    world.set_policy(policy)
    result = world.evaluate(
        dataset=_Rows(trials), episodes_idx=list(range(len(trials))), start_steps=[0] * len(trials), goal_offset=GOAL_OFFSET,
        eval_budget=BUDGET, callables=_PLACE,
    )  # fmt: skip
    policy.note()
    world.close()
    paths_px = np.stack(policy.positions, axis=1)
    nearest_px = np.linalg.norm(paths_px[:, 1:] - trials.goal_px[:, None], axis=-1).min(axis=1)
    return Outcome(np.array(result["episode_successes"], bool), paths_px[:, :-1], nearest_px)


# How stable-worldmodel is made to put dot and goal where the data set's rows say.
_PLACE = [
    {"method": "_set_state", "args": {"state": {"value": "proprio"}}},
    {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_proprio"}}},
]


class _Watched:
    """A stable-worldmodel policy that hands on images alone; where the dot is, is noted past it."""

    def __init__(self, world: Any, act: Act) -> None:
        self._world = world
        self._act = act
        self._done = np.zeros(world.num_envs, bool)
        self.positions: list[FloatArray] = []

    def set_env(self, env: Any) -> None:
        self.env = env

    def note(self) -> None:
        """Where the dots are now."""
        self.positions.append(np.stack([env.unwrapped.agent_position.numpy().copy() for env in self.env.envs]))

    def get_action(self, infos: dict[str, Any], **_: object) -> FloatArray:
        self._done |= self._world.terminateds
        self.note()
        return np.asarray(self._act(infos["pixels"][:, 0], infos["goal"][:, 0], self._done), np.float32)


class _Rows:
    """What `World.evaluate` asks of a data set."""

    column_names = ("pixels", "proprio")

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def load_chunk(self, episodes: NDArray[np.int64], *_: object) -> list[dict[str, Any]]:
        """First and last row; those between are for videos."""
        trials = self._trials
        return [
            {
                "pixels": torch.from_numpy(np.stack((trials.start_images[k], trials.goal_images[k]))).permute(0, 3, 1, 2),
                "proprio": np.stack((trials.start_px[k], trials.goal_px[k])),
            }
            for k in episodes
        ]
