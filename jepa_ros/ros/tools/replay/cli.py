"""The command line: replay a bag, compare with another replay, and say by the exit code whether more has changed than is allowed."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import jepa_ros.config
from jepa_ros import __version__
from jepa_ros.ros.tools.demo import default_bag, stand_in_weights
from jepa_ros.ros.tools.demo_report import draw_picture
from jepa_ros.ros.tools.output_log import summary_of
from jepa_ros.ros.tools.plan_client import GOAL_AHEAD_M
from jepa_ros.ros.tools.replay.compare import Comparison, compare, read_limits
from jepa_ros.ros.tools.replay.run import Replayed, digest, file_digest, finite, replay
from jepa_ros.ros.tools.replay.settings import flat, read_config
from jepa_ros.ros.tools.replay.stack import ReplayConfig
from jepa_ros.ros.tools.run_media import FILM, tell
from jepa_ros.ros.tools.run_report import surprise_note
from jepa_ros.sensing import BagError
from jepa_ros.viz.comparison import draw_comparison

FILES = ("output.mcap", "scene.png", "report.html", FILM, "plans.json")
CHANGED = 2  # exit code: more has changed than --fail-above allows


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    arguments = parse_arguments(argv)
    try:
        limits = read_limits(arguments.fail_above)
        if not arguments.compare_only:
            bag = arguments.bag or default_bag()
            config = with_model(read_config(arguments.params, arguments.set), arguments.model, arguments.weights)
            print_summary(run(bag, arguments.out, config, arguments.goal_ahead, not arguments.no_film), arguments.out)
        if arguments.compare is None:
            return 0
        return judge(compare(arguments.compare, arguments.out), arguments.out, limits)
    except (BagError, ValueError, FileNotFoundError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of a replay."""
    parser = argparse.ArgumentParser(
        prog="python -m jepa_ros.replay",
        description="A bag through pipeline and planner, every frame, at the machine's own pace, without DDS: the same answer twice.",
    )
    parser.add_argument("bag", type=Path, nargs="?", help="MCAP or SQLite3 bag (default: the demo's, generated on the first run)")
    parser.add_argument("--out", type=Path, default=Path("replay_out"), help="folder for the results (default: %(default)s)")
    parser.add_argument("--params", type=Path, help="parameter file of the nodes, as for ros2 run --params-file")
    parser.add_argument("--no-film", action="store_true", help="leave out demo.gif, which takes half a second of work a picture")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="one more parameter; may be repeated")
    parser.add_argument("--model", default="", help="back-end of both nodes (default: as the parameters say, scene_jepa)")
    parser.add_argument("--weights", default="", help="its weights")
    parser.add_argument("--goal-ahead", type=float, default=GOAL_AHEAD_M, help="plans are asked for so far ahead, m (default: %(default)s)")
    parser.add_argument(
        "--compare", type=Path, metavar="DIR", help="what has changed since the replay in DIR: a table, compare.json, compare.png"
    )
    parser.add_argument("--compare-only", action="store_true", help="replay nothing: compare OUT, as it is, with DIR")
    parser.add_argument(
        "--fail-above", default="", metavar="FIGURE=LIMIT,...",
        help=f"with --compare: exit with {CHANGED} where a figure of the table is above its limit; as in people=0.02,plans=0",
    )  # fmt: skip
    return parser.parse_args(argv)


def with_model(config: ReplayConfig, model: str, weights: str) -> ReplayConfig:
    """The same back-end and weights for both nodes, as `make demo` gives them."""
    if model:
        config = replace(config, world_model=replace(config.world_model, model=model), planner=replace(config.planner, model=model))
    weights = weights or ("" if config.world_model.pipeline.weights else str(stand_in_weights(config.world_model.model)))
    if not weights:
        return config
    pipeline = replace(config.world_model.pipeline, weights=weights)
    return replace(config, world_model=replace(config.world_model, pipeline=pipeline), planner=replace(config.planner, weights=weights))


def run(bag: Path, out: Path, config: ReplayConfig, ahead_m: float, film: bool = True) -> dict[str, Any]:
    """Replay, draw, and write summary.json and plans.json; returns the summary. film: draw that, too."""
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(desc=f"replaying {bag.name}", unit="frame") as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        replayed = replay(bag, out, config, ahead_m, show)
    (out / "plans.json").write_text(json.dumps(replayed.plans, indent=1) + "\n")
    drawn = draw_picture(replayed.log, bag, out / "scene.png", timed=False, robot=config.planner.planner.body)
    told = tell(replayed.log, bag, out, timed=False, film=film, robot=config.planner.planner.body)
    summary = summarise(replayed, bag, config)
    files = ["output.mcap", "plans.json", *(["scene.png"] if drawn else []), *(path.name for path in told)]
    summary["hashes"] |= {name: file_digest(out / name) for name in files}
    summary["hash"] = digest(summary["hashes"])
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def summarise(replayed: Replayed, bag: Path, config: ReplayConfig) -> dict[str, Any]:
    """`hash` and `hashes` are the same for the same bag, code, parameters and machine; `latency_ms` and planning times never are."""
    stack, log = replayed.stack, replayed.log
    spec, capability = stack.pipeline.spec, torch.backends.cpu.get_cpu_capability()
    summary = {
        "bag": bag.name,
        "model": spec.name,
        "model_version": spec.version,
        "version": __version__,
        "code": code_digest(),
        "machine": f"{platform.machine()}, {capability}, {stack.threads} torch threads, torch {torch.__version__}",
        **summary_of(log),
        "forecast_scores": {name: finite(score) for name, score in stack.score.summary().items()},
        "errors": dict(stack.errors),
        "settings": flat(config),
        "hashes": dict(replayed.hashes),
    }
    note = surprise_note(log)
    return summary | ({"surprise_note": note} if note else {})


def code_digest() -> str:
    """A hash of the package's Python sources, to distinguish commits of one version."""
    package = Path(jepa_ros.config.__file__).parent
    digests = {str(path.relative_to(package)): file_digest(path) for path in sorted(package.rglob("*.py"))}
    return digest(digests)[:12]


def print_summary(summary: dict[str, Any], out: Path) -> None:
    """Prints what a replay saw and how its stages did."""
    answers = ", ".join(f"{count} {status}" for status, count in summary["plan"]["by_status"].items()) or "none"
    print(
        f"{summary['frames_processed']} of {summary['frames_in']} frames; {summary['pedestrians_tracked']} people tracked; plans: {answers}"
    )
    print(f"hash {summary['hash']}")
    print("  ".join(f"{out}/{name}" for name in (*FILES, "summary.json") if (out / name).is_file()))


def judge(comparison: Comparison, out: Path, limits: dict[str, float]) -> int:
    """Print the table, write compare.json and compare.png; 0, or CHANGED where a limit is passed."""
    (out / "compare.json").write_text(json.dumps(comparison.as_json(), indent=2) + "\n")
    draw_comparison(comparison, out / "compare.png")
    print(comparison.table())
    print(f"{out}/compare.json  {out}/compare.png")
    passed = [f"{name} {comparison.figures[name]:.4g} > {limit:g}" for name, limit in limits.items() if comparison.figures[name] > limit]
    if passed:
        print(f"replay: more has changed than is allowed: {', '.join(passed)}", file=sys.stderr)
        return CHANGED
    return 0
