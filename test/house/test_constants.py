"""Every hand-set number has its row in docs/constants.md, with the value that it has."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

PARTS = (
    "planning",
    "forecast",
    "objects",
    "occupancy",
    "backends",
    "ros/planner",
    "ros/world_model",
    "sensing",
    "pipeline.py",
    "types.py",
    "movers.py",
)
PAGE = (ROOT / "docs" / "constants.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| (\w+) \| (.*) \|$", re.MULTILINE)


def is_numeric(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fi"
    if isinstance(value, (tuple, list)):
        return bool(value) and all(map(is_numeric, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown(value: object) -> str:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return f"({', '.join(map(shown, value))})" if isinstance(value, (tuple, list)) else f"{value:.7g}"


def holds_a_number(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Constant) and is_numeric(node.value) for node in ast.walk(tree))


def numbers_of(module) -> dict[str, dict[str, str]]:
    """Where -> name -> value: numbers written at the top of a module, and numeric defaults of parameters in its configurations."""
    where, found = module.__name__.removeprefix("jepa_ros."), {}
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and holds_a_number(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            public = [name for name in names if name.isupper() and name[0] != "_" and is_numeric(getattr(module, name))]
            found.setdefault(where, {}).update({name: shown(getattr(module, name)) for name in public})
        elif isinstance(node, ast.ClassDef) and dataclasses.is_dataclass(getattr(module, node.name)):
            fields = [field for field in dataclasses.fields(getattr(module, node.name)) if "description" in field.metadata]
            found[f"{where}.{node.name}"] = {field.name: shown(field.default) for field in fields if is_numeric(field.default)}
    return {place: values for place, values in found.items() if values}


def told() -> dict[str, dict[str, str]]:
    """The same from the page."""
    rows: dict[str, dict[str, str]] = {}
    for where, numbers, _, _ in ROW.findall(PAGE):
        rows.setdefault(where, {}).update(re.findall(r"(\w+) = (\(.*?\)(?=, \w+ =|$)|[^,]+)", numbers))
    return rows


def test_every_number_has_a_row_with_its_value():
    real: dict[str, dict[str, str]] = {}
    for part in PARTS:
        place = ROOT / "jepa_ros" / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            real.update(numbers_of(importlib.import_module(name)))
    rows = told()
    missing = [
        f"| `{where}` | {name} = {value} | SOURCE | |"
        for where, values in real.items()
        for name, value in values.items()
        if rows.get(where, {}).get(name) != value
    ]
    assert missing == [], "docs/constants.md lacks these rows, or has another value; name the source of each:\n" + "\n".join(missing)
    gone = [f"{where}.{name}" for where, values in rows.items() for name in values.keys() - real.get(where, {}).keys()]
    assert gone == [], "docs/constants.md: no such number any more"


def test_every_source_is_a_word_of_the_page_and_every_named_test_exists():
    meanings = set(re.findall(r"(?m)^\| (\w+) \| [^|]+ \|$", PAGE)) - {"source"}
    assert {kind for _, _, kind, _ in ROW.findall(PAGE)} <= meanings
    tests = {path.name: path.read_text() for path in (ROOT / "test").rglob("test_*.py")}
    for file, function in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", PAGE):
        assert file in tests, file
        assert not function or f"def {function}(" in tests[file], function
