"""The result of a run of `adapt`: text, JSON and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from jepa_ros.training.adapt.critic import ALARM, Surprise
from jepa_ros.training.adapt.judge import Scores
from jepa_ros.training.adapt.learn import WeightMixture

NAMES = {"average_precision": "average precision", "iou": "IoU", "latent_error": "latent error"}
HIGHER_IS = {"average_precision": "better", "iou": "better", "latent_error": "worse"}
SLACK = 0.002  # what a mean over windows may lose: no more than the last digit shown tells


@dataclass(frozen=True)
class Judged:
    """Of one set of weights."""

    held: Scores
    others: Scores | None = None  # simulated worlds; None where there are none
    surprise: Surprise | None = None  # None where there is no critic
    surprise_others: Surprise | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: part.as_dict() if part else None for name, part in vars(self).items()}


@dataclass(frozen=True)
class Report:
    """Before: the weights begun with. After: those that were learned and mixed, whether they are kept or not."""

    parent: dict[str, str]  # file name, version, fingerprint
    before: Judged
    after: Judged
    share: float  # of the way from the parent to what was learned
    shares: dict[float, WeightMixture]  # that were tried
    looks: list[tuple[int, float]]
    critic: str  # what became of it
    frames: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)  # of processor time and of the clock

    @property
    def objections(self) -> list[str]:
        """Why the adapted weights are not better on the held-out part; empty where they are."""
        old, new = self.before.held.summary(), self.after.held.summary()
        if not self.share:
            later = min((nats for step, nats in self.looks if step), default=math.nan)
            forgot = ", or too much is forgotten elsewhere" if later < old["nats"] else ""
            return [f"cross-entropy of occupancy {old['nats']:.4f} before, {later:.4f} at best after learning{forgot}"]
        return _worse(old, new)

    @property
    def forgotten(self) -> list[str]:
        """What became worse in other worlds."""
        if self.before.others is None or self.after.others is None:
            return []
        return _worse(self.before.others.summary(), self.after.others.summary())

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON: what is not known is None."""
        return _known(
            {
                "better": not self.objections,
                "objections": self.objections,
                "forgotten": self.forgotten,
                "parent": self.parent,
                "share": self.share,
                "shares": {f"{share:g}": vars(mixture) for share, mixture in self.shares.items()},
                "looks": self.looks,
                "critic": self.critic,
                "frames": self.frames,
                "seconds": self.seconds,
                "before": self.before.as_dict(),
                "after": self.after.as_dict(),
            }
        )

    def text(self) -> str:
        """For people."""
        lines = [f"Held-out part: {self.before.held.windows} windows of {self.frames['held']} frames; learned from {self.frames['learn']}."]
        lines += ["", *_table(self.before.held, self.after.held)]
        if len(self.before.held.known) < len(self.before.held.times_s):
            lines.append("Later steps were NOT judged: no bag goes on that long after the cut. Record longer, or hold out more.")
        lines += ["", _calibration(self.before.held, self.after.held)]
        tried = ", ".join(f"{share:g}: {mixture.nats:.4f} ({mixture.forgotten:+.3f})" for share, mixture in self.shares.items())
        lines.append(
            f"Share of what was learned that is kept: {self.share:g}. Cross-entropy by share (and what it costs elsewhere): {tried}."
        )
        lines.append(_surprise("Surprise", self.before.surprise, self.after.surprise))
        lines.append(f"Critic: {self.critic}.")
        if self.before.others is not None and self.after.others is not None:
            lines += ["", f"Other worlds, simulated: {self.before.others.windows} windows.", *_table(self.before.others, self.after.others)]
            lines.append(_calibration(self.before.others, self.after.others))
            lines.append(_surprise("Surprise there", self.before.surprise_others, self.after.surprise_others))
        spent = ", ".join(f"{value:.0f} s of {name}" for name, value in self.seconds.items())
        lines += ["", f"{spent}, in the last call of this run.", "", self.verdict()]
        return "\n".join(lines)

    def verdict(self) -> str:
        """The last lines."""
        if self.objections:
            return (
                f"NOT BETTER on the held-out part: {'; '.join(self.objections)}. No weights were written: keep {self.parent['file']}, "
                "whose figures are those under 'before'. A longer recording, or one of more places, may help."
            )
        old, new = self.before.held.summary(), self.after.held.summary()
        means = ", ".join(f"{NAMES[name]} {old[name]:.3f} -> {new[name]:.3f}" for name in HIGHER_IS)
        text = f"Better on the held-out part: {means} (means of all steps)."
        if self.forgotten:
            text += f" WORSE in other worlds: {'; '.join(self.forgotten)}: use these weights where the recording was made."
        return text


def _known(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _known(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _worse(old: dict[str, float], new: dict[str, float]) -> list[str]:
    """Means that became worse; a figure that is not known before or after is no objection."""
    signs = {"better": -1, "worse": 1}
    return [
        f"{NAMES[name]} {old[name]:.3f} -> {new[name]:.3f}"
        for name, higher in HIGHER_IS.items()
        if signs[higher] * (new[name] - old[name]) > SLACK
    ]


def _table(before: Scores, after: Scores) -> list[str]:
    lines = ["  time   latent error: before  after persist. |    AP: before  after persist. | IoU 0.5: before  after persist."]
    for k in before.known:
        triples = [
            (before.latent_error[k], after.latent_error[k], before.latent_error_persistence[k]),
            (before.average_precision[k], after.average_precision[k], before.average_precision_persistence[k]),
            (before.iou[k], after.iou[k], before.iou_persistence[k]),
        ]
        cells = [" ".join(f"{value:7.3f}" if math.isfinite(value) else "      -" for value in triple) for triple in triples]
        lines.append(f"{before.times_s[k]:5.1f}s  {cells[0]:>36}   | {cells[1]:>28}   | {cells[2]:>28}")
    return lines


def _calibration(before: Scores, after: Scores) -> str:
    shown = sorted({before.known[place] for place in (0, len(before.known) // 2, -1)}) if before.known else []
    thresholds = [", ".join(f"{scores.best_threshold[k]:.2f}" for k in shown) for scores in (before, after)]
    return (
        f"Occupancy, cells said to be 0.1 or more: mean distance of what is said from what is found {before.calibration_error:.3f} -> "
        f"{after.calibration_error:.3f}; best threshold at the first, middle and last step {thresholds[0]} -> {thresholds[1]}."
    )


def _surprise(title: str, before: Surprise | None, after: Surprise | None) -> str:
    if before is None or after is None:
        return f"{title}: no critic."
    if not before.judged:
        return f"{title}: {before.nats:.5f} -> {after.nats:.5f} nats a cell over {before.instants} instants, too few to say what is usual."
    return (
        f"{title}: {before.nats:.5f} -> {after.nats:.5f} nats a cell over {before.instants} instants; of {before.judged} judged, above "
        f"{ALARM}: {before.above_alarm:.3f} -> {after.above_alarm:.3f} (0.02 if calibrated), mean {before.mean:.2f} -> {after.mean:.2f}."
    )
