"""Pages made from the sources when the site is built: parameters, messages, API, facts of the weights, and where pages go."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock
from sphinx.util import logging

logger = logging.getLogger(__name__)
# Large or absent where only documentation is built.
FOREIGN = (
    "torch", "rclpy", "lifecycle_msgs", "diagnostic_msgs", "geometry_msgs", "nav_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs",
    "std_msgs", "builtin_interfaces", "tf2_msgs", "visualization_msgs", "jepa_ros.msg", "jepa_ros.srv", "jepa_ros.action", "safetensors",
    "rosbags", "mujoco", "matplotlib", "transformers", "tensorboard", "ray", "mcap", "mcap_ros2", "cv2", "scipy", "PIL", "tqdm", "pyarrow",
    "onnxruntime", "backports", "ament_index_python", "launch", "launch_ros", "tf2_ros", "diagnostic_updater", "nav2_msgs", "action_msgs",
    "vision_msgs", "mcp", "anyio", "pydantic", "rerun", "threadpoolctl", "unique_identifier_msgs", "autoware_perception_msgs",
    "autoware_planning_msgs",
)  # fmt: skip
PARTS = (
    "types", "protocols", "config", "extensions", "pipeline", "memory", "sensing", "backends", "objects", "forecast", "planning", "viz",
    "training", "sim", "ros",
)  # fmt: skip
MADE = "reference"  # folder below docs/ that holds nothing else


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_config_value("jepa_ros_root", "", "env")
    app.connect("config-inited", _make_pages)
    app.connect("source-read", _place_pages)
    app.connect("source-read", _weight_facts)
    return {"parallel_read_safe": True}


def _make_pages(app: Sphinx, config: Any) -> None:
    root, out = Path(config.jepa_ros_root), Path(app.srcdir) / MADE
    absent = [name for name in FOREIGN if not _importable(name)]
    config.autodoc_mock_imports = absent
    shutil.rmtree(out, ignore_errors=True)
    (out / "api").mkdir(parents=True)
    with mock(absent):
        (out / "parameters.md").write_text(parameters_page(root))
    (out / "interfaces.md").write_text(interfaces_page(root))
    (out / "map.md").write_text(map_page(root))
    for part in parts(root):
        (out / "api" / f"{part}.rst").write_text(api_page(root, part))
    for place in undocumented(root):
        logger.warning("%s has no docstring", place)


def _importable(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
        return spec is not None and spec.origin is not None  # without: a folder of that name, such as our own launch/
    except (ImportError, ValueError):
        return False


# Parameters


def node_configs(root: Path) -> Iterator[tuple[str, str, str]]:
    """(node, module, configuration class) of every node that declares its parameters from a dataclass."""
    for path in sorted((root / "jepa_ros" / "ros").rglob("*.py")):
        source = path.read_text()
        node = re.search(r'super\(\)\.__init__\(\s*"(\w+)"', source)
        kind = re.search(r"= Parameters\(self, (\w+)", source) or re.search(r'super\(\)\.__init__\(\s*"\w+", (\w+Config)\)', source)
        if node and kind:
            yield node.group(1), ".".join(path.relative_to(root).with_suffix("").parts), kind.group(1)


def parameters_page(root: Path) -> str:
    """One table a node: what each parameter means, its default, its bounds, and whether a running node takes a change."""
    from jepa_ros.ros.parameters import walk_fields

    lines = ["# Parameters", "", "Made from the declarations when this site is built; `ros2 param describe /NODE NAME` says the same.", ""]
    for node, module, name in node_configs(root):
        kind = getattr(importlib.import_module(module), name)
        lines += [f"## {node}", "", "| parameter | default | range | while running | meaning |", "|---|---|---|---|---|"]
        for parameter, (_, field) in walk_fields(kind):
            default = field.default_factory() if callable(field.default_factory) else field.default
            live = "fixed at start" if field.metadata.get("read_only", True) else "can be set"
            meaning = _cell(field.metadata.get("description", ""))
            lines.append(f"| `{parameter}` | {_value(default)} | {_bounds(field.metadata)} | {live} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(value)}`"


def _bounds(metadata: Any) -> str:
    if choices := metadata.get("choices"):
        return ", ".join(f"`{choice}`" for choice in choices)
    low, high = metadata.get("at_least"), metadata.get("at_most")
    if low is None and high is None:
        return ""
    if high is None:
        return f"≥ {low:g}"
    return f"≤ {high:g}" if low is None else f"{low:g} … {high:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("*", "\\*").replace("<", "&lt;")


# Messages, services, actions


def interfaces_page(root: Path) -> str:
    """One table for each part of each interface, from the comments in its file."""
    lines = ["# Messages and services", "", "Made from `msg/`, `srv/` and `action/` when this site is built.", ""]
    sections = {"msg": ("Message",), "srv": ("Request", "Response"), "action": ("Goal", "Result", "Feedback")}
    for folder, titles in sections.items():
        for path in sorted((root / folder).glob(f"*.{folder}")):
            lines += [f"## {path.stem}", "", f"`jepa_ros/{folder}/{path.stem}`", ""]
            for title, text in zip(titles, re.split(r"(?m)^---$", path.read_text()), strict=False):
                about, rows = interface_rows(text)
                lines += [_cell(about), ""] if about else []
                if not rows:
                    continue
                lines += [f"### {title}", ""] if len(titles) > 1 else []
                lines += ["| type | name | meaning |", "|---|---|---|"]
                lines += [f"| `{kind}` | `{name}` | {_cell(meaning)} |" for kind, name, meaning in rows] + [""]
    return "\n".join(lines)


def interface_rows(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The comment at the head, and (type, name, comment) of each field and constant."""
    head, rows = [], []
    for line in text.splitlines():
        declaration, _, comment = line.partition("#")
        if declaration.strip():
            kind, name = declaration.split(maxsplit=1)
            rows.append((kind, name.strip(), comment.strip()))
        elif comment.strip() and not rows:
            head.append(comment.strip())
        elif comment.strip():
            rows[-1] = (*rows[-1][:2], f"{rows[-1][2]} {comment.strip()}".strip())
    return " ".join(head), rows


# API


def parts(root: Path) -> list[str]:
    """The parts of the package in the order of the data, then any that is new."""
    package = root / "jepa_ros"
    found = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()} - {"__init__"}
    return [part for part in PARTS if part in found] + sorted(found - set(PARTS))


def part_modules(root: Path, part: str) -> list[Path]:
    """Files of a part: its front first."""
    package = root / "jepa_ros"
    if (package / f"{part}.py").is_file():
        return [package / f"{part}.py"]
    return sorted(
        (path for path in (package / part).rglob("*.py") if path.name != "__main__.py"),
        key=lambda path: path.relative_to(package).with_suffix("").as_posix().removesuffix("__init__"),
    )


def api_page(root: Path, part: str) -> str:
    """Every module of a part with what it offers."""
    title = f"jepa_ros.{part}"
    lines = [title, "=" * len(title), ""]
    for path in part_modules(root, part):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if module != title:
            lines += [module, "-" * len(module), ""]
        lines += [f".. automodule:: {module}", "   :members:", ""]
    return "\n".join(lines)


def map_page(root: Path) -> str:
    """Every module with the first line of its docstring, folder by folder."""
    lines = ["# Map", "", "Every module and its first line, made from the sources.", ""]
    for base in ("jepa_ros", "experiments"):
        for folder in sorted({path.parent for path in (root / base).rglob("*.py")}):
            modules = sorted(folder.glob("*.py"), key=lambda path: (path.name != "__init__.py", path.name))
            lines += [f"## {folder.relative_to(root)}", "", "| | |", "|---|---|"]
            for path in modules:
                about = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
                lines.append(f"| `{path.name}` | {_cell(about)} |")
            lines.append("")
    return "\n".join(lines)


def undocumented(root: Path) -> Iterator[str]:
    """Public modules, classes and functions without a docstring, as FILE:LINE NAME."""
    for path in sorted((root / "jepa_ros").rglob("*.py")):
        tree = ast.parse(path.read_text())
        where = path.relative_to(root)
        if not ast.get_docstring(tree):
            yield f"{where}:1 module"
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_") and not ast.get_docstring(node):
                yield f"{where}:{node.lineno} {node.name}"


# Facts of weights, and the table of contents


def _weight_facts(app: Sphinx, name: str, source: list[str]) -> None:
    root = Path(app.config.jepa_ros_root)
    if name == "model_cards":
        for path in sorted((root / "weights").rglob("*.safetensors")):
            if path.name not in source[0] and path.parent.name not in source[0]:
                logger.warning("weights/%s has no model card", path.relative_to(root / "weights"), location=name)
        source[0] = re.sub(r"\{\{facts:(\S+?)\}\}", lambda match: weight_facts(root / "weights" / match.group(1)), source[0])


def weight_facts(path: Path) -> str:
    """Size, parameters and version of a weights file, read from its head."""
    with path.open("rb") as file:
        head = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    metadata = head.pop("__metadata__", {})
    count = sum(_product(tensor["shape"]) for tensor in head.values())
    version = f", version {metadata['version']}" if "version" in metadata else ""
    return f"{path.stat().st_size / 1e6:.1f} MB, {count:,} numbers in {len(head)} tensors{version}"


def _product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _place_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """`{{others}}` in the index: pages directly below docs/ that its tables of contents do not name yet."""
    if name == "index":
        named = set(re.findall(r"(?m)^(?:[^\n<]*<)?([\w/]+)>?$", source[0]))
        unwanted = {"index.md", *app.config.exclude_patterns}
        others = sorted(path.stem for path in Path(app.srcdir).glob("*.md") if path.stem not in named and path.name not in unwanted)
        source[0] = source[0].replace("{{others}}", "\n".join(others))
