"""What has changed between two replays of one bag: settings, frames, people, occupancy, plans, surprise, time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from jepa_ros.ros.tools.replay.outcome import Outcome, People, read_outcome
from jepa_ros.types import FloatArray

SAME_PERSON_M = 0.8  # two runs mean the same person where they see one so near to each other
OCCUPIED = 128  # of 255: even odds
FIGURES = {
    "frames": "share of frames that only one of them processed",
    "people": "people gained and lost, as a share of all seen",
    "people_m": "mean distance between the places of one person, m",
    "forecast_m": "mean distance between the ends of one person's likeliest paths, m",
    "occupancy": "share of occupied cells that only one of them has",
    "plans": "share of plans with another status, or that now end at the goal or short of it",
    "path_m": "mean distance between paths, m",
    "surprise": "mean difference of surprise",
    "latency": "time of a frame, new over old, minus 1",
    "settings": "parameters and versions that differ",
    "outputs": "1 where any output differs by a byte",
}


@dataclass(frozen=True)
class Moment:
    """One stamp that both have."""

    stamp_ns: int
    people_old: int
    people_new: int
    gained: int
    lost: int
    occupancy: float  # share of occupied cells that only one has; NaN where neither has any


@dataclass(frozen=True)
class Comparison:
    """`figures`: by the names of FIGURES, 0 = no change; NaN where there was nothing to compare."""

    old: Outcome
    new: Outcome
    figures: dict[str, float]
    details: dict[str, list[str]]  # figure -> what exactly, in words
    moments: list[Moment] = field(repr=False)
    latency_ms: dict[str, tuple[float, float]]  # stage -> p50 old, new

    def as_json(self) -> dict[str, Any]:
        figures = {name: None if math.isnan(value) else value for name, value in self.figures.items()}
        return {"old": str(self.old.folder), "new": str(self.new.folder), "figures": figures, "details": self.details}

    def table(self) -> str:
        """For people, one figure a line."""
        lines = [f"{'figure':<12}{'change':>10}  what it is"]
        for name, meaning in FIGURES.items():
            value = self.figures[name]
            shown = "none" if value == 0 else "-" if math.isnan(value) else f"{value:+.1%}" if name == "latency" else f"{value:.4g}"
            lines.append(f"{name:<12}{shown:>10}  {meaning}")
            lines += [f"{'':<24}{text}" for text in self.details.get(name, [])]
        return "\n".join(lines)


def compare(old: Path, new: Path) -> Comparison:
    """Both folders hold a replay of one bag. Raises FileNotFoundError, and ValueError where the bags differ."""
    return compare_outcomes(read_outcome(old), read_outcome(new))


def compare_outcomes(old: Outcome, new: Outcome) -> Comparison:
    """What differs between two outcomes of one bag. Raises ValueError where they have no frame in common."""
    if not old.people.keys() & new.people.keys():
        raise ValueError(f"{old.folder} and {new.folder} have no frame in common: are they replays of one bag?")
    stamps = sorted(old.people.keys() & new.people.keys())
    pairs = [matched(old.people[stamp], new.people[stamp]) for stamp in stamps]
    occupancy = {stamp: occupied_share(old.occupancy[stamp], new.occupancy[stamp]) for stamp in stamps if stamp in new.occupancy}
    moments = []
    for stamp, pair in zip(stamps, pairs, strict=True):
        before, after = len(old.people[stamp].ids), len(new.people[stamp].ids)
        share = occupancy.get(stamp, math.nan)
        moments.append(Moment(stamp, before, after, gained=after - len(pair), lost=before - len(pair), occupancy=share))
    seen = sum(moment.people_old + moment.gained for moment in moments)
    gained, lost = sum(moment.gained for moment in moments), sum(moment.lost for moment in moments)
    apart = [_apart(old.people[stamp], new.people[stamp], pair) for stamp, pair in zip(stamps, pairs, strict=True)]
    places_m, ends_m = (np.concatenate([part[k] for part in apart]) for k in (0, 1))
    surprises = [abs(old.surprise[s] - new.surprise[s]) for s in old.surprise.keys() & new.surprise.keys()]
    latency_ms = _latencies(old, new)
    plans, path_m, plan_words = _plans(old, new)
    settings = _settings(old, new)
    either = old.people.keys() | new.people.keys()
    differing = [name for name, digest in new.summary["hashes"].items() if old.summary["hashes"].get(name) != digest]
    figures = {
        "frames": 1 - len(stamps) / len(either),
        "people": (gained + lost) / seen if seen else 0.0,
        "people_m": _mean(places_m),
        "forecast_m": _mean(ends_m),
        "occupancy": _mean(np.array(list(occupancy.values()))),
        "plans": plans,
        "path_m": path_m,
        "surprise": _mean(np.array(surprises)),
        "latency": _ratio(latency_ms) - 1,
        "settings": float(len(settings)),
        "outputs": float(bool(differing)),
    }
    tracks = [run.summary["pedestrians_tracked"] for run in (old, new)]
    details = {
        "people": [f"{gained} gained, {lost} lost over {len(stamps)} frames; tracks {tracks[0]} -> {tracks[1]}"] if gained + lost else [],
        "plans": plan_words,
        "settings": settings,
        "outputs": [", ".join(differing)] if differing else [],
    }
    return Comparison(old, new, figures, {name: words for name, words in details.items() if words}, moments, latency_ms)


def matched(old: People, new: People) -> list[tuple[int, int]]:
    """Rows of the same people: the assignment with the least distance, and none farther apart than SAME_PERSON_M."""
    distance_m = np.linalg.norm(old.positions_m[:, None] - new.positions_m[None], axis=-1)
    # What is too far counts as much as staying alone, so that it never keeps two others from each other.
    rows, columns = linear_sum_assignment(np.minimum(distance_m, SAME_PERSON_M))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if distance_m[a, b] < SAME_PERSON_M]


def occupied_share(old: np.ndarray, new: np.ndarray) -> float:
    """Share of the cells that either calls occupied which only one does, over all steps; 1 where the grids differ in shape."""
    if old.shape != new.shape:
        return 1.0
    a, b = old >= OCCUPIED, new >= OCCUPIED
    either = int((a | b).sum())
    return int((a ^ b).sum()) / either if either else math.nan


def _apart(old: People, new: People, pairs: list[tuple[int, int]]) -> tuple[FloatArray, FloatArray]:
    a, b = (np.array([pair[k] for pair in pairs], int) for k in (0, 1))
    return np.linalg.norm(old.positions_m[a] - new.positions_m[b], axis=-1), np.linalg.norm(old.ends_m[a] - new.ends_m[b], axis=-1)


def _plans(old: Outcome, new: Outcome) -> tuple[float, float, list[str]]:
    """(share with another answer, mean distance of paths, changes in words), of plans that were asked at the same stamp."""
    before = {plan["asked_at_stamp_ns"]: plan for plan in old.plans}
    both = [(before[plan["asked_at_stamp_ns"]], plan) for plan in new.plans if plan["asked_at_stamp_ns"] in before]
    changes = Counter((_answer(a), _answer(b)) for a, b in both if _answer(a) != _answer(b))
    words = [f"{count} x {a} -> {b}" for (a, b), count in changes.most_common()]
    alone = len(old.plans) + len(new.plans) - 2 * len(both)
    apart_m = [
        float(np.linalg.norm(np.subtract(a["path"], b["path"]), axis=-1).mean())
        for a, b in both
        if a["path"] and len(a["path"]) == len(b["path"])
    ]
    return (changes.total() + alone) / max(1, len(both) + alone), _mean(np.array(apart_m)), words


def _answer(plan: dict[str, Any]) -> str:
    return plan["status"] + (" at the goal" if plan.get("reaches_goal") else "")


def _settings(old: Outcome, new: Outcome) -> list[str]:
    kept = ("bag", "model", "model_version", "version", "code", "machine")
    a, b = ({name: run.summary.get(name) for name in kept} | run.summary["settings"] for run in (old, new))
    return [f"{name}: {a.get(name)} -> {b.get(name)}" for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]


def _latencies(old: Outcome, new: Outcome) -> dict[str, tuple[float, float]]:
    before, after = old.summary["latency_ms"], new.summary["latency_ms"]
    return {stage: (before[stage]["p50"], after[stage]["p50"]) for stage in after if stage in before}


def _ratio(latency_ms: dict[str, tuple[float, float]]) -> float:
    """Of a frame, without the plan, which is not asked for in each."""
    before, after = (sum(times[k] for stage, times in latency_ms.items() if stage != "plan") for k in (0, 1))
    return after / before if before else math.nan


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def read_limits(text: str) -> dict[str, float]:
    """ "people=0.02,plans=0" -> limits. Raises ValueError with the names that there are."""
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, limit = part.partition("=")
        if name.strip() not in FIGURES:
            raise ValueError(f"--fail-above {part}: figures are {', '.join(FIGURES)}")
        try:
            limits[name.strip()] = float(limit)
        except ValueError:
            raise ValueError(f"--fail-above {part}: want FIGURE=NUMBER") from None
    return limits
