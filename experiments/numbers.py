"""The hand-set numbers of rules: where they stand, and how one is changed for a while wherever it has been imported."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
