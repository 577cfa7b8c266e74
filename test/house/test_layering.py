"""The order of imports is the order of the data, everything but jepa_ros/ros works without ROS 2, and rooms stay small."""

import ast
import graphlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "jepa_ros"
EXPERIMENTS = ROOT / "experiments"
SHARED_BY_EXPERIMENTS = {"experiments.common", "experiments.numbers"}
MOST_MODULES, MOST_LINES = 15, 300  # in a folder, beside its __init__; in a module
MOST_SHARED = 5  # lines in a row that two modules may have in common
SHARED = {  # two modules -> why they share more
    ("jepa_ros.planning.solver", "jepa_ros.protocols"): "the signature of Solver.solve",
    ("jepa_ros.ros.planner.node", "jepa_ros.ros.world_model.node"): "transitions of two lifecycle nodes; goes when they share a base",
    ("jepa_ros.ros.tf", "jepa_ros.sensing.frames.transforms"): "the seam Transforms, by tf2 and by our own graph",
}
# A layer may import from its own and from earlier layers; parts of one layer only from themselves, where they are listed apart.
LAYERS = (
    {"version", "types", "movers", "config", "protocols", "weights", "lazy", "levelling", "threads", "extensions"},
    {"sensing"},
    {"backends"},
    {"memory", "prediction"},
    {"objects"},
    {"forecast", "planning", "occupancy"},
    {"pipeline"},
    {"exchange"},
    {"viz", "training", "sim"},
    {"ros"},
    # Entries of a few lines: replay builds the nodes' messages without running nodes; mcp asks the running ones.
    {"replay", "mcp"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
APART = {"forecast", "planning", "occupancy", "sensing", "backends"}  # neighbours in a layer that must not know each other
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
        if top in ROS and part not in ("ros", "replay", "mcp"):
            problems.append(f"{where}: only jepa_ros/ros may")
        if top != "jepa_ros" or not rest or rest[0] == part or (part == "ros" and rest[0] in ("action", "msg", "srv")):
            continue
        if rest[0] not in RANK:
            continue  # an attribute of the package, such as __version__
        if RANK[rest[0]] > RANK[part] or (RANK[rest[0]] == RANK[part] and {part, rest[0]} <= APART):
            problems.append(f"{where}: {rest[0]} comes after {part}")
    return problems


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph(paths: list[Path]) -> dict[str, set[str]]:
    """Module -> the modules of `paths` that it names in an import, those for type checkers and inside functions among them."""
    names = {module_name(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parents = ".".join(path.relative_to(ROOT).parts[: -node.level])
                base = ".".join(filter(None, (parents, node.module))) if node.level else node.module or ""
                # `from package import module` names the module, `from module import name` the module before it.
                found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base for alias in node.names}
        graph[name] = {module for module in found if module in names and module != name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def foreign_imports(graph: dict[str, set[str]]) -> list[str]:
    """Imports of one experiment from another."""
    return [
        f"{name} imports {module}"
        for name, modules in graph.items()
        for module in sorted(modules)
        if module.startswith("experiments.") and module not in SHARED_BY_EXPERIMENTS and module.split(".")[1] != name.split(".")[1]
    ]


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


def test_no_circle_of_imports():
    graph = import_graph([*PACKAGE.rglob("*.py"), *EXPERIMENTS.rglob("*.py")])
    assert graph["jepa_ros.pipeline"] >= {"jepa_ros.memory", "jepa_ros.backends"}, "the graph sees both kinds of import"
    assert circle(graph) == []


def test_no_experiment_needs_another():
    assert foreign_imports(import_graph(list(EXPERIMENTS.rglob("*.py")))) == []


def test_rooms_and_modules_stay_small():
    paths = [*PACKAGE.rglob("*.py"), *EXPERIMENTS.rglob("*.py"), *(ROOT / "test").rglob("*.py")]
    long = {module_name(path): lines for path in paths if (lines := len(path.read_text().splitlines())) > MOST_LINES}
    assert long == {}, f"more than {MOST_LINES} lines: ask what two things it is"
    rooms = Counter(path.parent for path in paths if path.name != "__init__.py")
    full = {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > MOST_MODULES}
    assert full == {}, f"more than {MOST_MODULES} modules: it asks for folders"


def telling_lines(path: Path) -> list[str]:
    """Lines of code without comments, imports, docstrings' insides and lone brackets, white space folded."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = enumerate(path.read_text().splitlines(), start=1)
    lines = [" ".join(line.split("  #")[0].split()) for number, line in numbered if number not in skipped]
    return [line for line in lines if any(character.isalnum() for character in line) and not line.startswith("#")]


def repeats(paths: list[Path]) -> list[str]:
    """Runs of more than MOST_SHARED lines that stand in two modules."""
    seen: dict[tuple[str, ...], str] = {}
    found = {}
    for path in sorted(paths):
        name, lines = module_name(path), telling_lines(path)
        for begin in range(len(lines) - MOST_SHARED):
            run = tuple(lines[begin : begin + MOST_SHARED + 1])
            first = seen.setdefault(run, name)
            if first != name and (first, name) not in SHARED:
                found.setdefault((first, name), f"{first} and {name} share: {run[0]} ...")
    return list(found.values())


def test_nothing_is_written_twice():
    assert repeats([*PACKAGE.rglob("*.py"), *EXPERIMENTS.rglob("*.py")]) == [], "one piece of code, or a reason in SHARED"


def test_the_rules_of_rooms_bite(tmp_path, monkeypatch):
    """Guards the guard: a ring through a function and a package's front, and an experiment that leans on another."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    files = {
        "jepa_ros/a/__init__.py": "from jepa_ros.a.one import x",
        "jepa_ros/a/one.py": "def f():\n    from jepa_ros.b import two",
        "jepa_ros/b/two.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jepa_ros.a import x",
        "experiments/driving/report.py": "from experiments.common import x\nfrom experiments.driving import table",
        "experiments/driving/table.py": "from experiments.grip import scores",
        "experiments/grip/scores.py": "",
        "experiments/common.py": "",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    graph = import_graph([tmp_path / name for name in files])
    assert set(circle(graph)) == {"jepa_ros.a", "jepa_ros.a.one", "jepa_ros.b.two"}
    assert foreign_imports(graph) == ["experiments.driving.table imports experiments.grip.scores"]
    del graph["jepa_ros.b.two"]
    assert circle(graph) == []
    code = "\n".join(f"x{n} = {n}" for n in range(6))
    (tmp_path / "jepa_ros/a/one.py").write_text(f'"""One."""\nimport os\n{code}\n')
    (tmp_path / "jepa_ros/b/two.py").write_text(f"# Two.\n{code}  # as there\ny = 1\n")
    paths = [tmp_path / "jepa_ros/a/one.py", tmp_path / "jepa_ros/b/two.py"]
    assert repeats(paths) == ["jepa_ros.a.one and jepa_ros.b.two share: x0 = 0 ..."]
    paths[1].write_text(code.replace("x5", "z"))
    assert repeats(paths) == []


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
