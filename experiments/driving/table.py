"""The table of the closed-loop bench."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from scipy.stats import binomtest

from experiments.common import ratio_of_sums, wilson
from experiments.driving.drive import Outcome
from experiments.driving.worlds import Episode


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
    return f"{100 * hits / count:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _paired(outcomes: list[Outcome], densities: list[str]) -> list[str]:
    """Ours against constant velocity on the episodes that both drove."""
    lines = []
    by_key = {(o.place, o.density, o.seed, o.method): o for o in outcomes}
    for density in densities:
        both = [
            (o, by_key[o.place, o.density, o.seed, "constant velocity"])
            for o in outcomes
            if o.method == "jepa_ros" and o.density == density and (o.place, o.density, o.seed, "constant velocity") in by_key
        ]
        if both:
            lines.append(f"{density.capitalize()} density, jepa_ros against constant velocity: {_contacts(both)}; {_times(both)}.\n")
    return lines


def _contacts(both: list[tuple[Outcome, Outcome]]) -> str:
    fewer = sum(ours.at_fault == 0 < theirs.at_fault for ours, theirs in both)
    more = sum(theirs.at_fault == 0 < ours.at_fault for ours, theirs in both)
    p_value = binomtest(fewer, fewer + more).pvalue if fewer + more else 1.0
    episodes = f"in {fewer} of {len(both)} episodes, the reverse in {more} (sign test p = {p_value:.2g})"
    return f"no at-fault contact where the other has one {episodes}"


def _times(both: list[tuple[Outcome, Outcome]]) -> str:
    """Ratio of the summed times to the goal, with its interval, and place by place."""
    arrived = [(ours, theirs) for ours, theirs in both if ours.reached and theirs.reached]
    if not arrived:
        return "none where both arrive"
    by_place: dict[str, list[tuple[Outcome, Outcome]]] = defaultdict(list)
    for ours, theirs in arrived:
        by_place[ours.place].append((ours, theirs))
    ratio, low, high = _time_ratio(arrived)
    places = ", ".join(f"{place} {_time_ratio(pairs)[0]:.2f}" for place, pairs in sorted(by_place.items()))
    return f"time to the goal {ratio:.3f} [{low:.3f}, {high:.3f}] times as long where both arrive ({len(arrived)} episodes: {places})"


def _time_ratio(pairs: list[tuple[Outcome, Outcome]]) -> tuple[float, float, float]:
    ours_s, theirs_s = np.array([(ours.time_s, theirs.time_s) for ours, theirs in pairs]).T
    return ratio_of_sums(ours_s, theirs_s)


def _faults(outcomes: list[Outcome], methods: list[str]) -> list[str]:
    lines = ["At-fault contacts with:", ""]
    for method in methods:
        rows = [outcome for outcome in outcomes if outcome.method == method and outcome.at_fault]
        kinds = Counter(kind for row in rows for kind in row.at_fault_with)
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        where = [Episode(row.place, row.density, row.seed).name for row in rows]
        lines.append(f"- {method}: {what}" + (f" ({', '.join(where)})" if where else ""))
    times = {method: [o.planning_ms for o in outcomes if o.method == method] for method in methods}
    spent = ", ".join(f"{method} {np.median(values):.0f}" for method, values in times.items() if values)
    return [*lines, "", f"Perception and planning, median ms a step on this machine: {spent}."]
