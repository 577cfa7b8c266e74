"""Which hand-set numbers the tests hold: `python -m experiments.constants.tests`.

docs/constants.md names tests beside many numbers. Each such number is set to 0.7 and to 1.4 times its value, and those tests run. A number
with which they fail is held from that side; one with which they pass may be anything within a third for all that the tests ask.
Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
from pathlib import Path

import pytest

from experiments.numbers import AS_IT_IS, Figures, Number, is_rule, measure

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| (\w+) \| (.*) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+\.py)(?:::(\w+))?`")


def held_numbers(page: str) -> dict[Number, list[str]]:
    """Each number at the top of a module in a row that names tests -> what pytest is to run."""
    files = {path.name: path for path in (ROOT / "test").rglob("test_*.py")}
    found = {}
    for where, numbers, _, why in ROW.findall(page):
        named = [(files[name], function) for name, function in TEST.findall(why) if not name.startswith("test_ros_")]
        tests = [f"{path}::{function}" if function else str(path) for path, function in named]
        if not tests or where.rsplit(".", 1)[-1][0].isupper():
            continue  # parameters are set by a file, and have bounds
        module = importlib.import_module(f"jepa_ros.{where}")
        for name in re.findall(r"(\w+) = ", numbers):
            if is_rule(name, getattr(module, name)):
                found[Number(module.__name__, name, getattr(module, name))] = tests
    return found


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="numbers whose label contains this")
    parser.add_argument("--out", type=Path, default=Path("bench_out/constants_tests"))
    args = parser.parse_args()
    held = {
        number: tests for number, tests in held_numbers((ROOT / "docs" / "constants.md").read_text()).items() if args.only in number.label
    }
    out = args.out.resolve()
    os.chdir(ROOT)

    def judge(number: Number | None) -> Figures:
        if number is None:
            return {"fails": 0.0}
        status = pytest.main(["-q", "-x", "--no-header", "-p", "no:cacheprovider", *held[number]])
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise RuntimeError(f"{number.label}: pytest ended with {status!r}")
        return {"fails": float(status)}

    rows = measure(list(held), judge, out / "rows.jsonl")
    lines = ["| number | value | x 0.7 | x 1.4 |", "|---|---|---|---|"]
    for label in (label for label in rows if label != AS_IT_IS):
        ends = ["a test fails" if rows[label][factor]["fails"] else "all pass" for factor in ("0.7", "1.4")]
        lines.append(f"| `{label}` | {rows[label]['value']['value']:g} | {ends[0]} | {ends[1]} |")
    (out / "constants.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(json.dumps({"bench": "constants held by tests", "numbers": len(rows) - 1}))


if __name__ == "__main__":
    main()
