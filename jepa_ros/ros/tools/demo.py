"""`make demo`: plays a bag into the running nodes over DDS, asks for plans, and writes a recording, a page, pictures and a summary.

    python -m jepa_ros.ros.tools.demo [--bag PATH] [--params FILE] [--model NAME] [--weights PATH] [--out demo_out]

world_model, planner and bag_player run as processes of their own; this one only watches, asks and records.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from tqdm import tqdm

from jepa_ros.ros.tools.demo_report import draw_picture, failure, write_summary
from jepa_ros.ros.tools.lifecycle_client import LifecycleClient
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.ros.tools.output_log import OUTPUTS, SHAPE, OutputLog
from jepa_ros.ros.tools.plan_client import GOAL_AHEAD_M, PlanClient
from jepa_ros.ros.tools.recorder import Recorder
from jepa_ros.ros.tools.replay.settings import read_config
from jepa_ros.ros.tools.replay.stack import ReplayConfig
from jepa_ros.ros.tools.run_media import RRD, tell
from jepa_ros.sensing import BagError, BagInfo, bag_info
from jepa_ros.sensing.bag import choose_topics
from jepa_ros.sensing.bags.reading import is_static, transforms_of
from jepa_ros.sim.bag import BagSpec, write_bag

DEFAULT_SPEC = BagSpec(seed=20071, scenario="crossing", duration_s=8.0)  # no training has seen it; a cyclist rides ahead, in view
DEFAULT_BAG = Path(f".ros/demo_bag_{DEFAULT_SPEC.seed}")
LINGER_S = 1.5  # the last diagnostics come once a second
ANSWER_S = 10.0
LOAD_S = 300.0  # a large model from a slow disk
WITHOUT_WEIGHTS = ("vjepa2", "vjepa2_ac", "ijepa")
WEIGHTS_PARAMETER = {"world_model": "pipeline.weights", "planner": "weights"}


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    arguments = parse_arguments(argv)
    bag = arguments.bag or default_bag()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        frame_topic(bag_info(bag))
        config = read_config(arguments.params, [])
    except (BagError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    rclpy.init()
    node = Node("demo", parameter_overrides=[Parameter("use_sim_time", value=True)])
    try:
        log = run(node, bag, arguments, config)
    except SomebodyElseHere as others:
        print(f"demo: {others}", file=sys.stderr)
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    robot = config.planner.planner.body
    summary = write_summary(log, bag, arguments.model or config.world_model.model, out / "summary.json")
    pictures = [f"{out}/scene.png"] if draw_picture(log, bag, out / "scene.png", robot=robot) else []
    pictures += [str(path) for path in tell(log, bag, out, film=not arguments.no_film, robot=robot)]
    print((out / "summary.json").read_text())
    print("  ".join([f"{out}/output.mcap", *pictures, f"{out}/summary.json"]))
    print_viewers_hint(pictures, out)
    print(summary["run"]["advice"])
    wrong = failure(log, arguments.goal_ahead)
    if wrong:
        print(f"demo failed: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


def print_viewers_hint(pictures: list[str], out: Path) -> None:
    """What to open to see the run, and what is missing for the Rerun viewer."""
    from jepa_ros.viz.rrd import MISSING, is_installed  # rerun-sdk, where it is installed, takes a second to import

    if f"{out}/report.html" in pictures:
        print(f"open {(out / 'report.html').resolve().as_uri()} in a browser")
    if f"{out}/{RRD}" in pictures:
        print(f"rerun {out}/{RRD} shows the run in the Rerun viewer")
    elif not is_installed():
        print(f"no {RRD} for the Rerun viewer: {MISSING}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of `make demo`."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Play a bag into the nodes; write a recording, a page, pictures and a summary."
    )
    parser.add_argument("--bag", type=Path, help="MCAP or SQLite3 bag (default: a small simulated one, generated on the first run)")
    parser.add_argument("--params", type=Path, help="parameter file of world_model and planner, as for ros2 run --params-file")
    parser.add_argument("--model", default="", help="back-end of both nodes (default: as the parameters say, scene_jepa)")
    parser.add_argument("--weights", default="", help="its weights (default: the shipped ones, or random ones where none ship)")
    parser.add_argument("--device", default="", help="auto, cpu, cuda (default: as the parameters say, auto)")
    parser.add_argument("--rate", type=float, default=1.0, help="speed of the playback (default: %(default)s, real time)")
    parser.add_argument("--goal-ahead", type=float, default=GOAL_AHEAD_M, help="plans are asked for so far ahead, m (default: %(default)s)")
    parser.add_argument("--no-film", action="store_true", help="leave out demo.gif, which takes half a second of work a picture")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for the results (default: %(default)s)")
    return parser.parse_args(argv)


def default_bag() -> Path:
    """The simulated crossing, generated once."""
    if not DEFAULT_BAG.exists():
        frames = round(DEFAULT_SPEC.duration_s * DEFAULT_SPEC.rate_hz)
        with tqdm(total=frames, desc=f"generating {DEFAULT_BAG}", unit="frame") as bar:
            write_bag(DEFAULT_BAG, DEFAULT_SPEC, lambda done: bar.update(done - bar.n))
    return DEFAULT_BAG


def stand_in_weights(model: str) -> Path | str:
    """For back-ends that ship no weights: tiny random ones, made once, which show that everything runs and have learned nothing."""
    if model not in WITHOUT_WEIGHTS:
        return ""
    from jepa_ros.backends.random_checkpoint import random_checkpoint  # it needs transformers, which the other back-ends do not

    folder = Path(f".ros/random_{model}")
    print(f"{model} ships no weights: random ones, which have learned nothing, are used ({folder}); name yours with WEIGHTS=", flush=True)
    return folder if (folder / "config.json").exists() else random_checkpoint(model, folder)


def run(node: Node, bag: Path, arguments: argparse.Namespace, config: ReplayConfig) -> OutputLog:
    """Start the nodes, play the bag once, record all topics. All processes are ended on return."""
    out: Path = arguments.out
    info = bag_info(bag)
    with ExitStack() as stack:
        given = {name: value for name, value in (("model", arguments.model), ("device", arguments.device)) if value}
        common = {"use_sim_time": True, "autostart": False, **given}
        model, own = arguments.model or config.world_model.model, config.world_model.pipeline.weights
        weights = str(arguments.weights or ("" if own else stand_in_weights(model)))
        nodes = [
            stack.enter_context(
                NodeProcess(name, common | ({parameter: weights} if weights else {}), out, tf_remappings(info), arguments.params)
            )
            for name, parameter in WEIGHTS_PARAMETER.items()
        ]
        log = OutputLog(frame_topic(info))
        asker = PlanClient(node, log, arguments.goal_ahead)
        recorder = Recorder(node, out / "output.mcap", on_message=asker.on_message)
        stack.callback(recorder.close)
        latched = {topic.name for topic in info.topics if topic.latched}
        for topic, type_name in {**{topic.name: topic.type_name for topic in info.topics}, **OUTPUTS, **SHAPE}.items():
            with suppress(ModuleNotFoundError, AttributeError):  # a type that is not installed here can be neither played nor recorded
                recorder.add(topic, type_name, topic in latched)
        for name in WEIGHTS_PARAMETER:
            lifecycle = LifecycleClient(node, name)
            lifecycle.transition("configure", LOAD_S)
            lifecycle.transition("activate")
        look_for_others(node)
        player = stack.enter_context(NodeProcess("bag_player", {"bag": str(bag), "rate": arguments.rate}, out))
        watch(node, log, player, nodes, info.duration_s)
        asker.stop()
        log.over()
        linger(node, log)
    return log


class SomebodyElseHere(Exception):
    """Another player or robot in this domain; the text says which, and what to do."""


def look_for_others(node: Node) -> None:
    """Raises SomebodyElseHere where another clock or nodes of the same name would mix with the demo.

    To be asked when the demo's own nodes have been found, so that others have been, too, and before it plays.
    """
    clocks = [f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in node.get_publishers_info_by_topic("/clock")]
    names = Counter(name for name, namespace in node.get_node_names_and_namespaces() if namespace == "/")
    found = [f"{name} publishes /clock" for name in clocks] + [f"another /{name} runs" for name in WEIGHTS_PARAMETER if names[name] > 1]
    if found:
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        fix = f"end it, or run ROS_DOMAIN_ID={domain_beside(domain)} make demo"
        raise SomebodyElseHere(f"{', '.join(found)} in ROS_DOMAIN_ID={domain} already, and would mix with the demo: {fix}")


def domain_beside(domain: str) -> int:
    """Another domain that any machine has; 0 to 101 are."""
    return (int(domain) + 7) % 100 if domain.isdecimal() else 7


def frame_topic(info: BagInfo) -> str:
    """The topic whose messages count as frames. Raises BagError where the bag has none."""
    topic = choose_topics(info).frame_topic
    assert topic is not None  # a bag without any raises
    return topic


def tf_remappings(info: BagInfo) -> dict[str, str]:
    """Where the nodes hear the vehicle's transforms, if its bag has them under a namespace only."""
    usual = {topic: "/tf_static" if is_static(topic) else "/tf" for topic in transforms_of(info)}
    return {new: old for old, new in usual.items() if old != new}


def watch(node: Node, log: OutputLog, player: NodeProcess, nodes: list[NodeProcess], duration_s: float) -> None:
    """Spin until the bag is over and the last frame has come through; show progress; fail as soon as a process does."""
    with tqdm(
        total=round(duration_s, 1), desc="playing", bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s{postfix}"
    ) as bar:
        while player.running():
            rclpy.spin_once(node, timeout_sec=0.05)
            bar.n = round(min(log.played_s, duration_s), 1)
            bar.set_postfix_str(f"{log.frames_processed} of {log.frames_in} frames, {len(log.plans)} plans", refresh=False)
            bar.update(0)
            for process in (player, *nodes):
                process.check()
        player.check()


def linger(node: Node, log: OutputLog) -> None:
    """Let the last diagnostics come, and the first answer of the planner where the bag was shorter than its deadline."""
    begin_s = time.monotonic()
    while (elapsed_s := time.monotonic() - begin_s) < LINGER_S or (log.frames_processed and not log.plans and elapsed_s < ANSWER_S):
        rclpy.spin_once(node, timeout_sec=0.05)


if __name__ == "__main__":
    sys.exit(main())
