"""The version of this package. It is written in one place, package.xml, which ROS release tools raise."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path


def find_version() -> str:
    """From package.xml next to the package (a source tree) or in `share/jepa_ros` (colcon), else from pip's metadata. "0" where none is."""
    package = Path(__file__).absolute().parent
    for place in (package.parent, *(parent / "share" / "jepa_ros" for parent in package.parents)):
        manifest = place / "package.xml"
        if manifest.is_file() and "<name>jepa_ros</name>" in (text := manifest.read_text(encoding="utf-8")):
            return re.search(r"<version>(.+?)</version>", text)[1]  # type: ignore[index]
    try:
        return metadata.version("jepa_ros")
    except metadata.PackageNotFoundError:
        return "0"
