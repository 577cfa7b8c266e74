"""One version in one place, wherever the package is imported from; and every extra that an error text advises exists."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from paths import ROOT

import jepa_ros

VERSION = ElementTree.parse(ROOT / "package.xml").findtext("version")


def test_the_source_tree_says_what_package_xml_says():
    assert jepa_ros.__version__ == VERSION
    assert f"version: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    said = subprocess.run([sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == VERSION
    released = re.findall(r"^(\d+\.\d+\.\d+) \(", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert released[0] == VERSION, "the version is that of the newest release in CHANGELOG.rst; what follows it stands under Forthcoming"


def test_the_workspace_that_colcon_built_says_so_too():
    """The package alone, as `ros2 run` finds it: without the source tree on the path."""
    installed = [
        place for place in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if (Path(place) / "share/jepa_ros/package.xml").is_file()
    ]
    if not installed:
        pytest.skip("needs the built workspace: run `make build`, then tests through scripts/env.sh")
    (site,) = {str(path.parent.parent) for path in Path(installed[0]).glob("lib*/python3*/*-packages/jepa_ros/__init__.py")}
    code = "import jepa_ros; print(jepa_ros.__file__, jepa_ros.__version__)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env={**os.environ, "PYTHONPATH": site}, capture_output=True, text=True, check=True
    )
    where, version = said.stdout.split()
    assert where.startswith(site)
    assert version == VERSION


def test_every_extra_that_is_advised_exists():
    known = set(re.findall(r'^ {8}"([a-z-]+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE))
    advised = set()
    for path in [*ROOT.glob("jepa_ros/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]:
        text = path.read_text()
        advised |= set(re.findall(r"jepa_ros\[([a-z-]+)\]", text)) | set(re.findall(r'_lazy\([^)]*extra="([a-z-]+)"', text))
    assert {"hub", "sim"} <= advised
    assert advised <= known, f"setup.py has no extra {advised - known}"


def test_what_is_forthcoming_is_grouped_and_short():
    """A merge that keeps both sides brings the old list back: seen here."""
    _, _, forthcoming = (ROOT / "CHANGELOG.rst").read_text().partition("Forthcoming\n-----------\n")  # nothing after a release
    section = forthcoming.split(f"\n{VERSION} (")[0]
    groups = {"Interfaces", "Models and perception", "Planning and driving", "Inputs", "Tools and documentation", "Fixes"}
    for line in section.splitlines():
        if line.startswith("* "):
            assert line[2:] in groups, f"{line[:60]}...: give it a place under one of {', '.join(sorted(groups))}"
        else:
            assert not line or line.startswith("  * "), f"{line[:60]}...: one line for each entry"
            assert len(line) <= 300, f"{line[:60]}...: one or two short sentences"
