"""A few simulated worlds outside the training data: does learning one street make the model worse elsewhere?"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from jepa_ros.training.world_model.dataset import prepare
from jepa_ros.training.world_model.shard import Shard, open_shards

FIRST_SEED = 10_000  # training uses seeds below, tests those from 20,000 on
SECONDS = 9.0  # a few windows with all their steps


def worlds(folder: Path, count: int) -> list[Shard]:
    """Prepared validation worlds, made where `folder` does not hold them; empty, and said so, where MuJoCo is not installed."""
    if not count:
        return []
    try:
        from jepa_ros.sim.bag import BagSpec, write_bag
        from jepa_ros.sim.places.worlds import SCENARIOS
    except ModuleNotFoundError as error:
        print(f"other worlds: skipped, {error.name} is not installed (pip install 'jepa_ros[sim]')")
        return []
    bags, places = [], list(SCENARIOS)
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + count), desc="simulate", unit="world", mininterval=1):
        bag = folder / "bags" / f"{places[seed % len(places)]}_{seed}"
        bag.parent.mkdir(parents=True, exist_ok=True)
        spec = BagSpec(seed, places[seed % len(places)], SECONDS, rate_hz=2.5, camera_size=(256, 96))
        bags.append(bag if bag.is_dir() else write_bag(bag, spec))
    prepare(bags, folder / "data")
    asked = {str(bag.absolute()) for bag in bags}
    return [shard for shard in open_shards(folder / "data") if shard.source in asked]
