"""The documentation site: Sphinx with MyST, which is also what rosdoc2 runs. `make docs` builds it with warnings as errors."""

import importlib.util
import re
import sys
from pathlib import Path

# rosdoc2 runs this text from a conf.py of its own, in a copy of docs/ that may lie anywhere. That file names the path of this one.
OPENED = re.findall(r'open\("(.+)"\)', Path(__file__).read_text())
ROOT = next(
    folder
    for start in (Path(__file__).resolve(), *map(Path, OPENED), Path.cwd(), *map(Path, sys.path))
    for folder in (start, *start.parents)
    if (folder / "jepa_ros" / "pipeline.py").is_file()
)
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from package_facts import package_facts  # noqa: E402

project = "jepa_ros"
author = "jepa_ros maintainers"
copyright = "jepa_ros maintainers, Apache-2.0"
release = version = package_facts(ROOT)["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "site_pages", "docstrings"]
# requirements/docs.txt has both; rosdoc2 runs without them, with a theme of its own.
extensions += [name for name in ("sphinx_copybutton",) if importlib.util.find_spec(name)]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext"]
# What rosdoc2 adds, of which these pages have their own form: index, README, change log, interfaces.
exclude_patterns += ["index.rst", "__*", "README.md", "CONTRIBUTING.md", "CHANGELOG.rst", "msg", "srv", "action"]
exclude_patterns += ["interfaces", "standard_docs", "standards.rst"]
exclude_patterns += ["jepa_ros*.rst", "modules.rst"]  # of sphinx-apidoc; site_pages makes the API pages
root_doc = "index"
# What a machine that only builds documentation lacks is replaced by stand-ins, so that signatures and parameters can still be read.
jepa_ros_root = str(ROOT)

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # links to a heading are checked
autodoc_inherit_docstrings = False  # torch says little of a `forward`
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "ignore-module-all": True}

html_title = f"jepa_ros {release}"
if importlib.util.find_spec("furo"):
    html_theme = "furo"
    html_theme_options = {"navigation_with_keys": True}
linkcheck_ignore = [r"http://localhost.*"]
# There is no C++ here. site_pages and docstrings are extensions of our own; the theme is the one that all ROS packages share.
rosdoc2_settings = {"enable_breathe": False, "enable_exhale": False, "allow_other_extensions": True}
