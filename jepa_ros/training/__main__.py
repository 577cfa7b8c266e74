"""`python -m jepa_ros.training COMMAND`: each command is a module with `add_arguments(parser)` and `run(args)`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from jepa_ros.threads import one_blas_thread

COMMANDS = {  # name -> (module, one line of help); a new command is a line here
    "prepare": ("jepa_ros.training.world_model.dataset", "turn bags into a random-access dataset"),
    "pretrain": ("jepa_ros.training.world_model.loop", "train scene_jepa on a prepared dataset, self-supervised"),
    "distill": ("jepa_ros.training.world_model.distill", "teach a narrower, faster scene_jepa what a wider one knows"),
    "adapt": ("jepa_ros.training.adapt.command", "adapt scene_jepa to recordings of your own in minutes, without labels, with a report"),
    "probe": ("jepa_ros.training.world_model.probes", "fit the occupancy head on frozen latents"),
    "camera": (
        "jepa_ros.training.world_model.camera",
        "teach scene_jepa weights to read images where there is no lidar, from prepared bags that have both",
    ),
    "surprise": (
        "jepa_ros.training.world_model.surprise",
        "fit the critic that separates unusual from usual changes, for frozen scene_jepa weights",
    ),
    "occupancy": (
        "jepa_ros.training.occupancy.train",
        "fit what reads occupancy from world model, recent hits and objects, from bags without labels",
    ),
    "frozen": ("jepa_ros.training.frozen.train", "train a predictor and probes on a frozen back-end's latents, from bags"),
    "arm": (
        "jepa_ros.training.arm.command",
        "train the world model of an arm and its gripper, which predicts whether a grip holds, from bags",
    ),
    "evaluate": ("jepa_ros.training.world_model.evaluate", "compare a world model with its baselines on prepared data"),
    "objects": ("jepa_ros.training.objects.train", "train the verifier that separates people and riders from clutter in a lidar sweep"),
    "vehicles": ("jepa_ros.training.objects.train_vehicles", "train the verifier that separates vehicles from clutter in a lidar sweep"),
    "traffic": ("jepa_ros.training.traffic.train", "train the forecaster of vehicles and cyclists, in simulated traffic"),
    "forecaster": ("jepa_ros.training.forecaster.train", "train the pedestrian forecaster"),
    "giving_way": ("jepa_ros.training.forecaster.giving_way", "train how people give way to a robot, in simulated crowds"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; only that command's module is imported. Bad input ends with one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.training", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, help="; ".join(f"{name}: {text}" for name, (_, text) in COMMANDS.items()))
    command = parser.parse_args((sys.argv[1:] if argv is None else list(argv))[:1]).command
    module_name, text = COMMANDS[command]
    module = importlib.import_module(module_name)
    sub_parser = argparse.ArgumentParser(prog=f"python -m jepa_ros.training {command}", description=text)
    module.add_arguments(sub_parser)
    args = sub_parser.parse_args((sys.argv[1:] if argv is None else list(argv))[1:])
    try:
        with one_blas_thread():
            module.run(args)
    except ValueError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
