"""Splits the frames into those to learn from and those to judge on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from jepa_ros.training.world_model.shard import Shard


@dataclass(frozen=True)
class Split:
    """Of each bag the first part is learned from, the rest is judged on. No window of one reads a frame of the other."""

    learn: list[Shard]
    held: list[Shard]


def split(shards: list[Shard], held_out: float, part: tuple[float, float] = (0.0, 1.0)) -> Split:
    """Cut every bag in time; a long bag is several shards. shards: whole ones. Raises ValueError where a side is left empty."""
    bags: dict[str, list[Shard]] = defaultdict(list)
    for shard in shards:  # by name: those of a bag follow each other
        bags[shard.source].append(shard)
    learn: list[Shard] = []
    held: list[Shard] = []
    for of_bag in bags.values():
        frames = sum(map(len, of_bag))
        begin, end = round(part[0] * frames), round(part[1] * frames)
        cut = begin + round((1 - held_out) * (end - begin))
        learn += _between(of_bag, begin, cut)
        held += _between(of_bag, cut, end)
    if not learn or not held:
        raise ValueError(f"{sum(map(len, shards))} frames are too few to hold {held_out:.0%} of them back; record longer bags")
    return Split(learn, held)


def _between(of_bag: list[Shard], begin: int, end: int) -> list[Shard]:
    """The shards of a bag, from frame `begin` to before frame `end` of the bag."""
    found, first = [], 0
    for shard in of_bag:
        count = len(shard)
        low, high = (min(max(place - first, 0), count) for place in (begin, end))
        if high > low:
            found.append(Shard(shard.folder, (low / count, high / count)))
        first += count
    return found
