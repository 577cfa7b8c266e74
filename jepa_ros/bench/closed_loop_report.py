"""The table of the closed-loop bench."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from jepa_ros.bench.closed_loop_drive import Outcome

Z95 = 1.959964


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if count == 0:
        return 0.0, 1.0
    share, spread = hits / count, Z95 * Z95 / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def report(outcomes: list[Outcome], densities: list[str], methods: list[str]) -> str:
    """Markdown: one table for each density, and what the drives of each method ran into."""
    lines = [
        "| density | method | drives | success | with an at-fault contact | hit while standing, from behind | nearest person, median m |"
        " within 0.5 m of somebody | time / best | length / best | stood > 5 s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for density in densities:
        for method in methods:
            rows = [outcome for outcome in outcomes if (outcome.density, outcome.method) == (density, method)]
            if rows:
                lines.append(f"| {density} | {method} | {_cells(rows)} |")
    lines += ["", *_paired(outcomes, densities), "", *_faults(outcomes, methods)]
    return "\n".join(lines) + "\n"


def _cells(rows: list[Outcome]) -> str:
    reached = [row for row in rows if row.reached]
    cells = [
        str(len(rows)),
        _share(sum(row.success for row in rows), len(rows)),
        _share(sum(row.at_fault > 0 for row in rows), len(rows)),
        f"{sum(row.hit_by for row in rows)}, {sum(row.struck for row in rows)}",
        f"{np.median([row.nearest_m for row in rows]):.2f}",
        f"{100 * np.mean([row.intrusion for row in rows]):.1f} %",
        f"{np.mean([row.time_s / row.time_optimum_s for row in reached]):.2f}" if reached else "-",
        f"{np.mean([row.length_m / row.length_optimum_m for row in reached]):.2f}" if reached else "-",
        f"{100 * sum(row.frozen_s for row in rows) / sum(row.time_s for row in rows):.1f} %",
    ]
    return " | ".join(cells)


def _share(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{100 * hits / count:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _paired(outcomes: list[Outcome], densities: list[str]) -> list[str]:
    """Ours against constant velocity on the episodes that both finished."""
    lines = []
    by_key = {(o.place, o.density, o.seed, o.method): o for o in outcomes}
    for density in densities:
        both = [
            (o, by_key[o.place, o.density, o.seed, "constant velocity"])
            for o in outcomes
            if o.method == "jepa_ros" and o.density == density and (o.place, o.density, o.seed, "constant velocity") in by_key
        ]
        if both:
            finished = [(ours, theirs) for ours, theirs in both if ours.reached and theirs.reached]
            ratio = (
                np.mean([ours.time_s for ours, _ in finished]) / np.mean([theirs.time_s for _, theirs in finished])
                if finished
                else math.nan
            )
            better = sum(ours.at_fault < theirs.at_fault for ours, theirs in both)
            worse = sum(ours.at_fault > theirs.at_fault for ours, theirs in both)
            lines.append(
                f"{density.capitalize()} density, jepa_ros against constant velocity: fewer at-fault contacts in {better} episodes, "
                f"more in {worse}; mean time to the goal {ratio:.2f} times as long where both arrive ({len(finished)} episodes).\n"
            )
    return lines


def _faults(outcomes: list[Outcome], methods: list[str]) -> list[str]:
    lines = ["At-fault contacts with:", ""]
    for method in methods:
        kinds = Counter(kind for outcome in outcomes if outcome.method == method for kind in outcome.at_fault_with)
        lines.append(f"- {method}: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common()) or 'none'}")
    times = {method: [o.planning_ms for o in outcomes if o.method == method] for method in methods}
    spent = ", ".join(f"{method} {np.median(values):.0f}" for method, values in times.items() if values)
    return [*lines, "", f"Perception and planning, median ms a step on this machine: {spent}."]
