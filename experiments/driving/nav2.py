"""Drives through Nav2's FollowPath action: python -m experiments.driving.nav2

The same dense episodes with the real nodes, over DDS: along a global path by a real action client, and to the goal by plan_path. Simulated
time waits for the nodes, so that a busy machine gives the same drives, only later. Finished drives are kept in OUT/drives.jsonl: a run that
is broken off goes on where it was. Needs nav2_msgs, and a ROS_DOMAIN_ID in which nobody else is.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from experiments.driving.drive import Outcome
from experiments.driving.table import report
from experiments.driving.worlds import DENSITIES, Episode, episodes

if TYPE_CHECKING:
    from experiments.driving.node_drive import NodeDrive

METHODS = ("FollowPath action", "plan_path service")
TRIES = 3  # of a drive in which a node did not answer


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.driving.nav2", description=__doc__)
    parser.add_argument("--episodes", type=int, default=20, help="seeded places (default: %(default)s)")
    parser.add_argument("--density", choices=list(DENSITIES), default="high")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tracks", type=Path, help="folder of the ETH/UCY recordings: every sixth episode is then among recorded people")
    parser.add_argument("--iterations", type=int, default=4, help="of the planner's search, in both (default: %(default)s: 80 ms)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/nav2"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "drives.jsonl"
    done = load(kept)
    drives = episodes(arguments.episodes, arguments.density, arguments.tracks)
    wanted = [(episode, method) for episode in drives for method in arguments.methods]
    missing = [(episode, method) for episode, method in wanted if (episode.name, method) not in done]
    for episode, method in tqdm(missing, desc="drives", unit="drive"):
        row = asdict(_drive(episode, method, arguments))
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done[episode.name, method] = row
    rows = [done[episode.name, method] for episode, method in wanted]
    text = table(rows, arguments.density, arguments.methods)
    (arguments.out / "nav2.md").write_text(text)
    print(text)


def _drive(episode: Episode, method: str, arguments: argparse.Namespace, tries: int = TRIES) -> NodeDrive:
    """Raises NoAnswer where a node did not answer in any try."""
    from experiments.driving.node_drive import drive_nodes
    from experiments.driving.nodes import NoAnswer

    try:
        return drive_nodes(
            episode, method, arguments.tracks, arguments.iterations, arguments.out / "logs" / f"{episode.name}-{method.split()[0]}"
        )
    except NoAnswer as error:
        if tries == 1:
            raise
        tqdm.write(f"{episode.name}, {method}: {error}; again")
    return _drive(episode, method, arguments, tries - 1)


def load(path: Path) -> dict[tuple[str, str], dict[str, object]]:
    """Finished drives by (episode, method); a last line that was cut off is driven again. Raises ValueError where they were measured
    otherwise, by another version of this bench."""
    done = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "off_m" not in row:
            raise ValueError(f"{path} is of another version of this bench; give another --out")
        outcome = outcome_of(row)
        done[Episode(outcome.place, outcome.density, outcome.seed).name, outcome.method] = row
    return done


def outcome_of(row: dict[str, object]) -> Outcome:
    """Of a row that `load` read or `asdict` made."""
    values = dict(row["outcome"])  # type: ignore[call-overload]
    return Outcome(**{**values, "at_fault_with": tuple(values["at_fault_with"])})


def table(rows: list[dict[str, object]], density: str, methods: list[str]) -> str:
    """Markdown: the table of the closed-loop bench, how many reached their goal, and why paths were given up."""
    outcomes = [outcome_of(row) for row in rows]
    lines = [report(outcomes, [density], methods)]
    for method in methods:
        mine = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if outcome.method == method]
        reached = sum(outcome.reached for _, outcome in mine)
        faults = sum(outcome.at_fault for _, outcome in mine)
        off_m = sorted(float(row["off_m"]) for row, outcome in mine if outcome.reached)  # type: ignore[arg-type]
        ends_at = f", {off_m[len(off_m) // 2]:.2f} m (at most {off_m[-1]:.2f}) from the true goal" if off_m else ""
        lines.append(f"- {method}: {reached} of {len(mine)} reached{ends_at}; {faults} contacts at fault")
        ends = Counter(str(end).split(":")[0] for row, _ in mine for end in row["ended"] if end != "arrived")  # type: ignore[attr-defined]
        if ends:
            lines.append(f"  paths given up and sent again: {', '.join(f'{count} x {end}' for end, count in ends.most_common())}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
