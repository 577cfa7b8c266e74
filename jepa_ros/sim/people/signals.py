"""Traffic signals: two groups of lanes that drive in turn."""

from __future__ import annotations

GREEN_S, ALL_RED_S = 11.0, 3.0
CYCLE_S = 2 * (GREEN_S + ALL_RED_S)


def signal_is_red(group: int, time_s: float) -> bool:
    """Two groups in turn, with all red in between."""
    phase = (time_s - group * (GREEN_S + ALL_RED_S)) % CYCLE_S
    return phase > GREEN_S


def people_may_start(group: int, time_s: float) -> bool:
    """Whether the vehicles of this group have red, and for long enough to walk across."""
    return signal_is_red(group, time_s) and signal_is_red(group, time_s + 5.0)
