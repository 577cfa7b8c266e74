"""The order of imports is the order of the data, and everything but jepa_ros/ros works without ROS 2."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jepa_ros"
# A layer may import from its own and from earlier layers; parts of one layer only from themselves, where they are listed apart.
LAYERS = (
    {"types", "config", "protocols", "weights"},
    {"sensing"},
    {"backends"},
    {"memory"},
    {"objects"},
    {"forecast", "planning"},
    {"pipeline"},
    {"viz", "training", "sim"},
    {"ros"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
APART = {"forecast", "planning", "sensing", "backends"}  # neighbours in a layer that must not know each other
ROS_MESSAGES = {
    "action_msgs", "builtin_interfaces", "composition_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs",
    "rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "unique_identifier_msgs", "visualization_msgs",
}  # fmt: skip
ROS = ROS_MESSAGES | {"rclpy", "tf2_ros", "tf2_py", "sensor_msgs_py", "ament_index_python", "launch", "launch_ros"}
OPTIONAL = {"cv_bridge"}  # sensing decodes images with it where it is there


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(path: Path) -> list[tuple[int, str]]:
    """(line, absolute module name) of every import statement, also those inside functions."""
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            # `from jepa_ros import sensing` names a part, not an attribute.
            found += [(node.lineno, f"{module}.{alias.name}" if module == "jepa_ros" else module) for alias in node.names]
    return found


def violations(path: Path) -> list[str]:
    part = part_of(path)
    problems = []
    for line, module in imported_modules(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        top, *rest = module.split(".")
        if top in ROS and part != "ros":
            problems.append(f"{where}: only jepa_ros/ros may")
        if top != "jepa_ros" or not rest or rest[0] == part or (part == "ros" and rest[0] in ("msg", "srv")):
            continue
        if rest[0] not in RANK:
            continue  # an attribute of the package, such as __version__
        if RANK[rest[0]] > RANK[part] or (RANK[rest[0]] == RANK[part] and {part, rest[0]} <= APART):
            problems.append(f"{where}: {rest[0]} comes after {part}")
    return problems


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_part_has_a_layer():
    unknown = {part_of(path) for path in sources()} - set(RANK)
    assert not unknown, f"give {unknown} a place in LAYERS"


def test_imports_follow_the_data():
    assert sources()
    problems = [problem for path in sources() for problem in violations(path)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("place", "source", "complaint"),
    [
        ("sensing/x.py", "from jepa_ros.backends import bev", "comes after"),
        ("sensing/x.py", "def f():\n    import rclpy", "only jepa_ros/ros"),
        ("planning/x.py", "from jepa_ros import forecast", "comes after"),
        ("pipeline.py", "from .ros import conversions", "comes after"),
        ("ros/x.py", "import rclpy\nfrom jepa_ros.msg import LatentState\nfrom jepa_ros.pipeline import X", None),
    ],
)
def test_the_rule_bites(tmp_path, monkeypatch, place, source, complaint):
    """Guards the guard: each kind of wrong import is found, a right one is not."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "jepa_ros")
    path = tmp_path / "jepa_ros" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    problems = violations(path)
    assert [complaint in problem for problem in problems] == ([True] if complaint else [])


WITHOUT_ROS = """
import importlib, sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED or name in ("jepa_ros.msg", "jepa_ros.srv"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRos())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("imported")
"""


def test_the_core_imports_without_ros():
    modules = [f"jepa_ros.{part}" for part in ("sensing", "pipeline", "backends", "forecast", "planning")]
    script = f"BLOCKED = {sorted(ROS | OPTIONAL)!r}\n{WITHOUT_ROS}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", script, *modules], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "imported"
