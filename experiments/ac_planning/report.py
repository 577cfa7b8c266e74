"""One planning step of V-JEPA 2-AC, ours against the reference implementation: `make bench-ac-planning`.

    git clone https://github.com/facebookresearch/vjepa2 CHECKOUT; pip install scipy

Both search in the same run, with the same weights, the same noise, threads, context and goal. Without --reference only ours is timed. Both
processor and wall time are given; on a busy machine only the first is meaningful.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.ac_planning.world import PatternWorld, draw_actions, draw_states, trained_predictor
from experiments.common import processor
from jepa_ros.backends.vjepa2_ac.model import batch_size
from jepa_ros.backends.vjepa2_ac.poses import advance
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.backends.vjepa2_ac.rollout import Imagination
from jepa_ros.backends.vjepa2_ac.screening import Screen
from jepa_ros.backends.vjepa2_ac.search import ScoreAll, Scorer, SearchConfig, search

CACHE = Path(".ros/ac_planning")
PATCH_PX = 16
COMPARED = 32  # candidates whose energies are compared one by one


@dataclass(frozen=True)
class Question:
    """What both are asked: from here to there."""

    predictor: ActionConditionedPredictor
    now_PD: Tensor
    goal_PD: Tensor
    state_7: Tensor
    config: SearchConfig


@dataclass(frozen=True)
class Row:
    """One way to answer it."""

    name: str
    processor_s: float
    wall_s: float
    predicted: int
    action_7: Tensor
    energy: float  # of that action, by our predictor


def timed(name: str, answer: Callable[[], tuple[Tensor, int]], energy: Callable[[Tensor], Tensor]) -> Row:
    """Runs one method; returns its row with processor time, wall time and energy."""
    processor_s, wall_s = time.process_time(), time.perf_counter()
    action_7, predicted = answer()
    processor_s, wall_s = time.process_time() - processor_s, time.perf_counter() - wall_s
    return Row(name, processor_s, wall_s, predicted, action_7, float(energy(action_7[None, None])))


def make_question(sizes: PredictorConfig, config: SearchConfig, cache: Path, seed: int) -> Question:
    """The goal is what the hand sees after three actions of the largest size, so that a single one does not reach it."""
    world, generator = PatternWorld(sizes), torch.Generator().manual_seed(seed)
    state_17, actions_37 = draw_states(1, generator), draw_actions(3, generator)
    goal_17 = state_17
    for action_7 in actions_37:
        goal_17 = advance(goal_17, action_7[None])
    return Question(trained_predictor(sizes, cache), world.see(state_17)[0], world.see(goal_17)[0], state_17[0], config)


def ours(question: Question, screened: bool) -> tuple[Tensor, int]:
    """The first action (7,) found by our search, and how many latents were predicted for it."""
    imagination = Imagination(question.predictor, question.now_PD[None], question.state_7[None])
    score = Scorer(lambda actions_BL7: imagination.energy(actions_BL7, question.goal_PD), batch_size(question.predictor.config, "cpu"))
    found = search(score, Screen(score) if screened else ScoreAll(score), 1, question.config)
    return found.actions_L7[0], found.predicted


class Reference:
    """The reference's predictor with our weights, and its own planner."""

    def __init__(self, checkout: Path, question: Question) -> None:
        if not (checkout / "notebooks" / "utils" / "mpc_utils.py").is_file():
            raise ValueError(f"{checkout}: no notebooks/utils/mpc_utils.py there; expected a checkout of facebookresearch/vjepa2")
        sys.path[:0] = [str(checkout), str(checkout / "notebooks")]
        stand_in_for_timm()
        sizes, config = question.predictor.config, question.config
        self._predictor = importlib.import_module("src.models.ac_predictor").vit_ac_predictor(
            img_size=(PATCH_PX * sizes.grid, PATCH_PX * sizes.grid),
            patch_size=PATCH_PX,
            num_frames=2 * sizes.max_steps,
            tubelet_size=2,
            embed_dim=sizes.encoder_width,
            predictor_embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            use_rope=True,
        )
        self._predictor.load_state_dict(question.predictor.state_dict(), strict=True)
        self._predictor.eval()
        self._question = question
        self._planner = importlib.import_module("utils.world_model_wrapper").WorldModel(
            encoder=None,
            predictor=self._predictor,
            tokens_per_frame=sizes.grid**2,
            transform=None,
            mpc_args={
                "rollout": 1,
                "samples": config.samples,
                "topk": config.elites,
                "cem_steps": config.iterations,
                "momentum_mean": config.momentum,
                "momentum_std": config.momentum,
                "maxnorm": config.max_step_m,
            },
            device="cpu",
        )
        logging.disable(logging.INFO)

    def answer(self) -> tuple[Tensor, int]:
        question = self._question
        torch.manual_seed(question.config.seed)
        action_L7 = self._planner.infer_next_action(question.now_PD[None, None], question.state_7[None, None], question.goal_PD[None, None])
        return action_L7[0], question.config.samples * question.config.iterations

    def energy(self, actions_BL7: Tensor) -> Tensor:
        question, batch = self._question, len(actions_BL7)
        predicted = self._predictor(question.now_PD.expand(batch, -1, -1), actions_BL7, question.state_7.expand(batch, 1, -1))
        predicted = torch.nn.functional.layer_norm(predicted, predicted.shape[-1:])
        return (predicted - question.goal_PD).abs().mean((1, 2))


def stand_in_for_timm() -> None:
    """The reference takes drop-path from timm, which does nothing at inference; an identity serves where timm is not installed."""
    try:
        importlib.import_module("timm.models.layers")
    except ImportError:
        layers: Any = types.ModuleType("timm.models.layers")
        layers.drop_path = lambda x, *_: x
        sys.modules |= {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models"), "timm.models.layers": layers}


@torch.inference_mode()
def measure(question: Question, reference: Reference | None) -> tuple[list[Row], float | None]:
    """The rows, printed as they come, and the largest difference between the reference's energies and ours."""
    imagination = Imagination(question.predictor, question.now_PD[None], question.state_7[None])

    def energy(actions_BL7: Tensor) -> Tensor:
        return imagination.energy(actions_BL7, question.goal_PD)

    some_BL7 = draw_actions(COMPARED, torch.Generator().manual_seed(2))[:, None]
    energy_B = energy(some_BL7)  # also the warm-up
    apart = float((reference.energy(some_BL7) - energy_B).abs().max()) if reference else None
    ways: dict[str, Callable[[], tuple[Tensor, int]]] = {"reference": reference.answer} if reference else {}
    ways["ours, every candidate predicted"] = lambda: ours(question, screened=False)
    ways["ours, screened (the default)"] = lambda: ours(question, screened=True)
    rows: list[Row] = []
    for name, answer in ways.items():
        rows.append(timed(name, answer, energy))
        print(line(rows[-1], rows[0]), flush=True)
    return rows, apart


def line(row: Row, first: Row) -> str:
    """One row of the printed table."""
    action = " ".join(f"{value:+.4f}" for value in row.action_7[[0, 1, 2, 6]].tolist())
    share = row.processor_s / first.processor_s
    return f"{row.name:<34} {row.processor_s:>12.2f} {row.wall_s:>8.2f} {row.predicted:>10} {share:>9.3f} {row.energy:>10.6f}  {action}"


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.ac_planning.report", description=__doc__.split("\n")[0])
    parser.add_argument("--reference", type=Path, help="checkout of facebookresearch/vjepa2")
    parser.add_argument("--width", type=int, default=192, help="of the predictor; published: 1024 (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=4, help="of the predictor; published: 24 (default: %(default)s)")
    parser.add_argument("--encoder-width", type=int, default=192, help="published: 1408 (default: %(default)s)")
    parser.add_argument("--grid", type=int, default=8, help="patches along a side; published: 16 (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=800, help="as published (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=10, help="as published (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scene, goal and noise (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the predictors are kept (default: %(default)s)")
    parser.add_argument("--train-only", action="store_true", help="only make sure that the predictor is there")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    sizes = PredictorConfig(
        encoder_width=arguments.encoder_width,
        width=arguments.width,
        depth=arguments.depth,
        heads=max(1, arguments.width // 64),
        grid=arguments.grid,
    )
    config = SearchConfig(samples=arguments.samples, iterations=arguments.iterations, seed=arguments.seed)
    try:
        question = make_question(sizes, config, arguments.cache, arguments.seed)
        if arguments.train_only:
            return 0
        reference = Reference(arguments.reference, question) if arguments.reference else None
    except (ValueError, ImportError) as error:
        print(f"{error}\n{__doc__}", file=sys.stderr)
        return 1
    about = f"predictor {arguments.width} x {arguments.depth}, {arguments.grid}^2 patches of {arguments.encoder_width}"
    print(f"{about}; {arguments.samples} candidates x {arguments.iterations}, 1 step, {arguments.threads} thread(s)")
    print(
        f"{'':<34} {'processor s':>12} {'wall s':>8} {'predicted':>10} {'of first':>9} {'energy':>10}  action (x, y, z, gripper)",
        flush=True,
    )
    rows, apart = measure(question, reference)
    if apart is not None:
        print(f"largest difference of energies between the two, {COMPARED} candidates: {apart:.1e}")
    fields = ("name", "processor_s", "wall_s", "predicted", "energy")
    results = [{**{name: getattr(row, name) for name in fields}, "action": row.action_7.tolist()} for row in rows]
    settings = {name: value for name, value in vars(arguments).items() if isinstance(value, int)}
    about_machine = {"machine": processor(), "torch": torch.__version__}
    print(json.dumps({"bench": "ac_planning", **settings, **about_machine, "energy_difference": apart, "rows": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
