"""Command line: `python -m jepa_ros.sim bag OUT` writes one simulated bag, `... bags OUT_DIR` a set of them."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from jepa_ros.sim.bag import BagSpec, Branch, write_bag
from jepa_ros.sim.branches import MANOEUVRES, instants
from jepa_ros.sim.places.worlds import PLACES, SCENARIOS

LAST_BRANCH_S = 24.0


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("bag", help="write one bag", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    one.add_argument("out", type=Path, help="folder of the bag; must not exist")
    one.add_argument("--seed", type=int, default=20_028)
    one.add_argument("--scenario", choices=list(PLACES), default="crossing")
    many = commands.add_parser(
        "bags", help="write a set of bags, skipping those that exist", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    many.add_argument("out", type=Path, help="folder for the bags")
    many.add_argument("--count", type=int, required=True)
    many.add_argument("--first-seed", type=int, default=0)
    many.add_argument("--scenarios", nargs="+", choices=list(PLACES), default=list(SCENARIOS), help="taken in turn")
    many.add_argument("--jobs", type=int, default=1)
    many.add_argument(
        "--branches",
        type=int,
        default=0,
        help="in place of whole runs, this many instants of each, continued for --duration three times: the ego drives on, stands, swerves",
    )
    for command in (one, many):
        command.add_argument("--duration", type=float, default=20.0, help="seconds")
        command.add_argument("--rate", type=float, default=10.0, help="frames per second")
        command.add_argument("--rings", type=int, default=32, help="lidar rings: 16, 32 or 64; 0 = no lidar")
        command.add_argument("--azimuths", type=int, default=900, help="lidar columns")
        command.add_argument("--cameras", type=int, default=1, help="0 to 6")
        command.add_argument("--camera-size", type=int, nargs=2, default=(400, 225), metavar=("WIDTH", "HEIGHT"))
        command.add_argument("--people", type=int, default=None, help="default: as many as the place has")
        command.add_argument(
            "--tracks", default=None, help="file of recorded people (rows of frame, id, x, y; ETH/UCY) in place of simulated ones"
        )
        command.add_argument(
            "--lively",
            action="store_true",
            help="drivers turn, give way, pass, stop at the kerb and weave; not with --branches",
        )
        command.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    options = parser.parse_args(arguments)
    if options.lively and getattr(options, "branches", 0):
        parser.error("--lively: the instants of --branches are chosen in traffic without it")
    if options.command == "bag":
        spec = _spec(options, options.seed, options.scenario)
        with tqdm(total=spec.frames, unit="frame") as bar:
            write_bag(options.out, spec, lambda done: bar.update(1) and None)
    else:
        _write_set(options)


def _spec(options: argparse.Namespace, seed: int, scenario: str, branch: Branch | None = None) -> BagSpec:
    return BagSpec(
        seed=seed,
        scenario=scenario,
        duration_s=options.duration,
        rate_hz=options.rate,
        lidar_rings=options.rings,
        lidar_azimuths=options.azimuths,
        cameras=options.cameras,
        camera_size=tuple(options.camera_size),
        storage=options.storage,
        n_people=options.people,
        tracks=options.tracks,
        lively=options.lively,
        branch=branch,
    )


def _write_set(options: argparse.Namespace) -> None:
    jobs: list[tuple[Path, BagSpec]] = []
    count = 0
    for k in range(options.count):
        seed, scenario = options.first_seed + k, options.scenarios[k % len(options.scenarios)]
        path = options.out / f"{scenario}_{seed:05d}"
        wanted = {path: _spec(options, seed, scenario)} if not options.branches else _branches(options, seed, scenario, path)
        count += len(wanted)
        jobs += [(path, spec) for path, spec in wanted.items() if not path.exists()]
    print(f"{count - len(jobs)} of {count} bags exist already")
    with ProcessPoolExecutor(options.jobs) as pool, tqdm(total=len(jobs), unit="bag") as bar:
        for future in as_completed([pool.submit(write_bag, path, spec) for path, spec in jobs]):
            future.result()
            bar.update(1)


def _branches(options: argparse.Namespace, seed: int, scenario: str, path: Path) -> dict[Path, BagSpec]:
    """Every manoeuvre at each of some instants of the run's beginning."""
    chosen = instants(scenario, seed, options.branches, first_s=2.0, last_s=LAST_BRANCH_S)
    return {
        path.with_name(f"{path.name}_{at_s:04.1f}s_{manoeuvre}"): _spec(options, seed, scenario, Branch(at_s, manoeuvre))
        for at_s in chosen
        for manoeuvre in MANOEUVRES
    }


if __name__ == "__main__":
    main()
