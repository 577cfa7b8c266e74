"""What scene_jepa predicts, feels and costs, each figure beside its baselines: python -m experiments.world_model.report [--bags BAG ...]

Worlds simulated from seeds that no training used, then the second half of each recording that is named. Baselines, on the same windows:
persistence of the newest sweep and the mean of the last four, both warped by ego motion, and constant-velocity flow (training/flow.py).
Prints Markdown: the figures part by part, then one table of what is wanted and reached; at last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from experiments.world_model import headline, prediction
from experiments.world_model.occupancy.cells import CellCounts
from experiments.world_model.table import Row, Section, summary, table
from experiments.world_model.worlds import SCENARIO_COUNT, STREAMED, simulated_bags
from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.training.world_model.dataset import prepare
from jepa_ros.training.world_model.evaluate import HELD, METHODS
from jepa_ros.training.world_model.shard import Shard, open_shards

PARTS = ("prediction", "published", "learned", "sensors", "recordings", "people", "probes", "surprise", "interaction", "speed")
EVERY_REAL = 4  # windows of a recording follow each other at its own rate
P99_MS, MEMORY_MB = 150.0, 1500.0
RANK_SHARE = 0.4


class Bench:
    """One run; every part is a method that gives sections."""

    def __init__(self, args: argparse.Namespace, root: Path) -> None:
        self.args, self.root = args, root
        self.model: SceneJepa = load("cpu", args.weights)
        self.bags = simulated_bags(root / "bags", args.simulated)
        self._thresholds: CellCounts | None = None  # of the model, from the simulated worlds
        if self.bags:
            prepare(self.bags, root / "simulated")

    def _shards(self) -> list[Shard]:
        """Of the worlds asked for; a cache may hold more."""
        asked = {str(bag.absolute()) for bag in self.bags}
        return [shard for shard in open_shards(self.root / "simulated") if shard.source in asked]

    def prediction(self) -> Iterator[Section]:
        """Latents, occupancy, moving cells and rank in simulation."""
        if not self.bags:
            return
        result, seen = prediction.measure(self.model, self._shards(), "both", self.args.every)
        self._thresholds = seen.counts["model"]
        section = prediction.prediction_section("Simulated worlds, lidar and camera", result, seen)
        rank = result.latent_spread.effective_rank
        section.rows += [
            prediction.latent_row("Latents, simulated", result, 0.6),
            prediction.occupancy_row("Occupancy AP, simulated", section, "average_precision", prediction.BASELINES),
            prediction.occupancy_row("Occupancy IoU, simulated", section, "iou", prediction.BASELINES),
            Row(
                "Not collapsed",
                f"effective rank at least {RANK_SHARE:.0%} of the width",
                f"{rank:.1f} of {result.width}",
                rank >= RANK_SHARE * result.width,
            ),
        ]
        yield section
        yield prediction.moving_section(seen)
        if self.args.pictures:
            from experiments.world_model.pictures import draw_strip

            self.args.pictures.mkdir(parents=True, exist_ok=True)
            for world, example in seen.examples.items():
                name = Path(world).name
                draw_strip(example, self.model.spec.dt_s, self.args.pictures / f"world_model_{name}.png", name)

    def published(self) -> Iterator[Section]:
        """What the node publishes, through the whole pipeline."""
        worlds = simulated_bags(self.root / "streamed", min(self.args.simulated, SCENARIO_COUNT), recorded=STREAMED)
        if worlds or self.args.bags:
            yield headline.published(worlds, self.args.bags, str(self.args.weights or ""))

    def learned(self) -> Iterator[Section]:
        """What the learned channels are worth."""
        if self.bags:
            yield headline.learned(self.model, self._shards(), self.args.every)

    def sensors(self) -> Iterator[Section]:
        """Each sensor alone, in simulation."""
        if not self.bags:
            return
        for sensor in ("lidar", "camera"):
            result, seen = prediction.measure(self.model, self._shards(), sensor, 2 * self.args.every)
            methods = METHODS if sensor == "lidar" else (*METHODS, HELD)
            section = prediction.prediction_section(f"Simulated worlds, {sensor} alone", result, seen, methods=methods)
            name, metric = f"{sensor.capitalize()} alone", "average_precision"
            if sensor == "camera":
                section.rows.append(prediction.latent_row(f"{name}, latents", result, None))
                section.rows.append(
                    prediction.occupancy_row(f"{name}, AP, against its own occupancy of now, held", section, metric, (HELD,))
                )
                name += ", against the lidar's sweep"
            section.rows.append(prediction.occupancy_row(f"{name}, AP", section, metric, ("persistence",)))
            yield section
        result, seen = prediction.measure(self.model, self._shards(), "camera", 2 * self.args.every, in_view=True)
        section = prediction.prediction_section(
            "Simulated worlds, camera alone, cells that it looks at", result, seen, methods=(*METHODS, HELD)
        )
        for baseline in (HELD, "persistence"):
            whose = "its own occupancy of now, held" if baseline == HELD else "the lidar's sweep"
            name = f"Camera alone, in view, AP, against {whose}"
            section.rows.append(prediction.occupancy_row(name, section, "average_precision", (baseline,)))
        yield section

    def recordings(self) -> Iterator[Section]:
        """The second half of each recording; where it is too short for a model step, one step between."""
        for number, bag in enumerate(self.args.bags):
            name, folder = f"{bag.parent.name}/{bag.name}", self.root / f"recording{number}"
            prepare([bag], folder)
            if sum(len(shard) for shard in open_shards(folder)) < prediction.FEWEST_FRAMES:
                yield prediction.short_recording(self.model, open_shards(folder), name)
                continue
            yield self._recording(self.model, folder, name, "shipped weights")
            for weights in self.args.fine_tuned:
                yield self._recording(load("cpu", weights), folder, name, "fine-tuned on its first half")

    def _recording(self, model: SceneJepa, folder: Path, name: str, weights: str) -> Section:
        result, seen = prediction.measure(model, open_shards(folder, (0.5, 1.0)), "both", EVERY_REAL)
        section = prediction.prediction_section(f"{name}, second half, {weights}", result, seen, self._thresholds)
        label = name if weights.startswith("shipped") else f"{name}, {weights}"
        section.rows += [
            prediction.latent_row(f"Latents, {label}", result, None),
            prediction.occupancy_row(f"AP, {label}", section, "average_precision", ("persistence",)),
            prediction.occupancy_row(f"AP, {label}", section, "average_precision", ("accumulated", "flow"), from_s=0.8),
            prediction.occupancy_row(f"IoU, {label}", section, "iou", ("persistence",)),
        ]
        return section

    def people(self) -> Iterator[Section]:
        """Detected people."""
        from experiments.world_model import people_section

        yield people_section.section(self.bags, self.args.bags)

    def probes(self) -> Iterator[Section]:
        """What a line reads off the latents."""
        from experiments.world_model import probes

        if self.bags:
            yield probes.section(self.model, self._shards(), 2)

    def surprise(self) -> Iterator[Section]:
        """Events that cannot happen."""
        from experiments.world_model import surprise

        if self.bags:
            yield surprise.section(self.model, self.args.live)

    def interaction(self) -> Iterator[Section]:
        """Two intended motions."""
        from experiments.world_model import interaction

        if self.bags:
            yield interaction.section(self.model, self.args.live)

    def speed(self) -> Iterator[Section]:
        """Time and memory of a step, in a process of its own."""
        command = [sys.executable, "-m", "experiments.world_model.speed"]
        command += ["--weights", str(self.args.weights)] if self.args.weights else []
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        section = Section("Speed", figures=figures)
        p99, memory = figures["p99_ms"]["sum"], figures["peak_memory_mb"]
        wanted = f"encode + predict 12 + probes on two cores: p99 at most {P99_MS:g} ms, peak memory at most {MEMORY_MB:g} MB"
        reached = f"p99 {p99} ms, p50 {figures['p50_ms']['sum']} ms, {figures['cpu_p50_ms']} ms of CPU; {memory} MB"
        section.rows.append(Row("Speed", wanted, reached, p99 <= P99_MS and memory <= MEMORY_MB))
        rows = [(name, figures["p50_ms"][name], figures["p99_ms"][name]) for name in figures["p50_ms"]]
        section.text.append(f"{figures['steps']} steps, {figures['threads']} threads; other load on the machine shows.")
        section.text.append(table(("", "p50 ms", "p99 ms"), rows))
        yield section


def run(args: argparse.Namespace, root: Path) -> tuple[list[Section], dict[str, float]]:
    """The parts that are asked for, printed as they are done, and the processor seconds that each took."""
    bench, sections, spent = Bench(args, root), [], {}
    for part in args.parts:
        start_s = time.process_time()
        measure: Callable[[], Iterator[Section]] = getattr(bench, part)
        for section in measure():
            print(section.markdown(), end="\n\n", flush=True)
            sections.append(section)
        spent[part] = round(time.process_time() - start_s, 1)
    return sections, spent


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, nargs="*", default=[], help="recordings; the second half of each is used")
    parser.add_argument("--simulated", type=int, default=8, help="simulated worlds (default: %(default)s)")
    parser.add_argument(
        "--live", type=int, default=8, help="of these, worlds that surprise and interaction run anew (default: %(default)s)"
    )
    parser.add_argument("--cache", type=Path, help="folder for simulated bags and prepared data, which a later run takes up; default: none")
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--fine-tuned", type=Path, nargs="*", default=[], help="weights that learned from the first half of a recording")
    parser.add_argument("--every", type=int, default=4, help="take every n-th window of a simulated world (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--pictures", type=Path, help="folder for film strips of what moves")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sections, spent = run(args, args.cache or Path(folder))
    print(f"## Summary\n\n{summary(sections)}")
    if not args.bags:
        print("\nrecordings: skipped, none given (--bags)")
    version = load("cpu", args.weights).spec.version
    report = {"bench": "world_model", "version": version, "host": platform.machine(), "threads": torch.get_num_threads(), "cpu_s": spent}
    report["rows"] = [vars(row) for section in sections for row in section.rows]
    print(headline.as_json({**headline.headline(sections), **report, **{section.title: section.figures for section in sections}}))


if __name__ == "__main__":
    main()
