"""Which tests fail when a hand-set number is changed: `make bench-held-constants`.

The tests of a part run with one number after another at 0.7 and at 1.4 times its value, until the first of them fails. A number that a test
holds has that test for its source: it states what must come out. Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on
where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from tqdm import tqdm

from experiments.numbers import Number, changed, numbers_of

FACTORS = (0.7, 1.4)
ROOT = Path(__file__).resolve().parents[2]
# The parts whose tests run in this process, and those tests.
PARTS = {
    "jepa_ros.sensing": ("sensing", "bags"),
    "jepa_ros.objects": ("objects",),
    "jepa_ros.forecast": ("forecast",),
    "jepa_ros.planning": ("planning",),
    "jepa_ros.backends.scene_jepa": ("pipeline",),
}
NEEDS_MINUTES = ("slow", "recording")


class FirstFailure:
    """Remembers the first test that fails."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.removeprefix("test/")


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.constants.held", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="(default: all)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/held_constants"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure(arguments.parts, arguments.out / "rows.jsonl")
    (arguments.out / "held_constants.md").write_text(table(rows))
    print(table(rows))
    print(json.dumps({"bench": "held_constants", "numbers": len(rows), "held": sum(any(found.values()) for found in rows.values())}))


def measure(parts: list[str], kept: Path) -> dict[str, dict[str, str]]:
    """Label -> factor -> the first test that failed, "" where none did."""
    rows = {row.pop("label"): row for row in map(json.loads, kept.read_text().splitlines() if kept.exists() else ())}
    sys.path.insert(0, str(ROOT / "test"))
    os.chdir(ROOT)
    with kept.open("a") as file:
        for part in parts:
            for number in tqdm(list(numbers_of(tuple(modules_of(part)))), desc=part, unit="number"):
                if number.label in rows:
                    continue
                files = tests_for(number.module, part)
                rows[number.label] = {str(factor): first_failure(number, number.times(factor), files) for factor in FACTORS}
                file.write(json.dumps({"label": number.label, **rows[number.label]}) + "\n")
                file.flush()
    return rows


def modules_of(package: str) -> Iterator[str]:
    """Every module of a package, itself among them."""
    root = import_module(package)
    yield package
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        yield found.name


def tests_for(module: str, part: str) -> list[str]:
    """The test files of a part; first those that name the module."""
    files = [path for folder in PARTS[part] for path in sorted((ROOT / "test" / folder).glob("test_*.py"))]
    files.sort(key=lambda path: module not in path.read_text())
    return [str(path.relative_to(ROOT)) for path in files]


def first_failure(number: Number, value: float, files: list[str]) -> str:
    """In a process of its own, since a test imports much: the first test that fails with another value."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        failure = FirstFailure()
        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", " and ".join(f"not {mark}" for mark in NEEDS_MINUTES)]
        with changed(number, value):
            code = pytest.main([*options, *files], plugins=[failure])
        os.write(writing, (failure.name or ("" if code == 0 else f"pytest ended with {code}")).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        name = answer.read()
    os.waitpid(child, 0)
    return name


def table(rows: dict[str, dict[str, str]]) -> str:
    """Markdown: those that a test holds, then the names of the others."""
    lines = ["| number | x 0.7 breaks | x 1.4 breaks |", "|---|---|---|"]
    held = {label: found for label, found in rows.items() if any(found.values())}
    lines += [
        f"| `{label}` | {' | '.join(f'`{found[str(f)]}`' if found[str(f)] else '' for f in FACTORS)} |" for label, found in held.items()
    ]
    others = ", ".join(f"`{label}`" for label in rows if label not in held)
    return "\n".join([*lines, "", f"Held by no test: {others}."]) + "\n"


if __name__ == "__main__":
    main()
