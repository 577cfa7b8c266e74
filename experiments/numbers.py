"""The hand-set numbers of rules: where they stand, how one is changed for a while wherever it has been imported, and what that changes.

`measure` judges everything as it is, then with one number after another at 0.7 and 1.4 times its value; `table` shows the differences.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

FACTORS = (0.7, 1.4)
AS_IT_IS = "as it is"
Figures = dict[str, float]
Rows = dict[str, dict[str, Figures]]  # label -> factor -> figures; those of AS_IT_IS have the factor 1

# Modules whose numbers decide what is a person, where the ground is, and what a track is.
RULES = (
    "jepa_ros.sensing.ground",
    "jepa_ros.sensing.terrain",
    "jepa_ros.objects.blobs",
    "jepa_ros.objects.columns",
    "jepa_ros.objects.detection",
    "jepa_ros.objects.sightlines",
    "jepa_ros.objects.tracking",
    "jepa_ros.objects.track_state",
)
# Sizes of arrays and of a network's input: to change one is another program, or another training.
SIZES = {"COLUMNS", "HEIGHT_BINS", "BIN_M", "BEARINGS", "WIDEST_OBJECT_CELLS", "FIT_ROUNDS", "UNKNOWN_FAR"}


@dataclass(frozen=True)
class Number:
    """One number, or one of several that share a line."""

    module: str
    name: str
    value: float

    @property
    def label(self) -> str:
        """Module without the package, and name."""
        return f"{self.module.removeprefix('jepa_ros.')}.{self.name}"

    def times(self, factor: float) -> float:
        """Another value of the same type; a count changes by one at least."""
        if not isinstance(self.value, int):
            return self.value * factor
        changed = round(self.value * factor)
        return changed if changed != self.value else self.value + (1 if factor > 1 else -1)


def numbers_of(modules: tuple[str, ...] = RULES) -> list[Number]:
    """Every upper-case number at the top of these modules, in the order of the source."""
    found = []
    for name in modules:
        module = importlib.import_module(name)
        tree = ast.parse(Path(str(module.__file__)).read_text())
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name) and part.id.isupper()]
                values = {constant: getattr(module, constant) for constant in names}
                found += [Number(name, constant, value) for constant, value in values.items() if is_rule(constant, value)]
    return found


def is_rule(name: str, value: Any) -> bool:
    """Whether to change this number means something."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and name not in SIZES


@contextmanager
def changed(number: Number, value: float) -> Iterator[None]:
    """With another value, in its own module and in those that imported it by name."""
    holders = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("jepa_ros") and getattr(module, number.name, None) is getattr(sys.modules[number.module], number.name)
    ]
    for module in holders:
        setattr(module, number.name, value)
    try:
        yield
    finally:
        for module in holders:
            setattr(module, number.name, number.value)


Change = Callable[[Number, float], AbstractContextManager[None]]


def measure(numbers: list[Number], judge: Callable[[Number | None], Figures], kept: Path, change: Change = changed) -> Rows:
    """Figures of each number at each factor. `judge` is given the number that is changed. Finished rows in `kept` are not repeated."""
    rows: Rows = {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    for line in kept.read_text().splitlines() if kept.exists() else []:
        row = json.loads(line)
        rows[row.pop("label")] = row
    with kept.open("a") as file:
        for number in tqdm([None, *numbers], unit="number"):
            label = number.label if number else AS_IT_IS
            if label in rows:
                continue
            if number is None:
                rows[label] = {"1": judge(None)}
            else:
                rows[label] = {"value": {"value": float(number.value)}}
                for factor in FACTORS:
                    with change(number, number.times(factor)):
                        rows[label][str(factor)] = judge(number)
            file.write(json.dumps({"label": label, **rows[label]}) + "\n")
            file.flush()
    return rows


def strength(rows: Rows, label: str, limits: Mapping[str, float]) -> float:
    """The largest difference that a number makes, in units of the limits; from 1 on it matters."""
    base = rows[AS_IT_IS]["1"]
    return max(abs(rows[label][str(factor)][name] - base[name]) / limit for factor in FACTORS for name, limit in limits.items())


def report(rows: Rows, limits: Mapping[str, float], bench: str, out: Path) -> None:
    """Write the table to OUT/constants.md, print it, and end with one line of JSON."""
    text = table(rows, limits)
    (out / "constants.md").write_text(text)
    print(text)
    matter = [label for label in rows if label != AS_IT_IS and strength(rows, label, limits) >= 1]
    print(json.dumps({"bench": bench, "numbers": len(rows) - 1, "matter": matter}))


def table(rows: Rows, limits: Mapping[str, float]) -> str:
    """Markdown, the strongest first. limits: which figures are shown, and from which difference on they are bold."""
    base = rows[AS_IT_IS]["1"]
    names = ", ".join(limits)
    lines = [
        "As it is: " + ", ".join(f"{name} {base[name]:.3f}" for name in limits) + ".",
        "",
        f"| number | value | x 0.7: {names} | x 1.4: {names} |",
        "|---|---|---|---|",
    ]
    worth = {label: strength(rows, label, limits) for label in rows if label != AS_IT_IS}
    for label in sorted(worth, key=lambda name: -worth[name]):
        changes = [", ".join(f"{rows[label][str(factor)][name] - base[name]:+.3f}" for name in limits) for factor in FACTORS]
        bold = "**" if worth[label] >= 1.0 else ""
        lines.append(f"| {bold}`{label}`{bold} | {rows[label]['value']['value']:g} | {changes[0]} | {changes[1]} |")
    return "\n".join(lines) + "\n"
