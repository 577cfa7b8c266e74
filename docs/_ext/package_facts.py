"""What package.xml says: the one place for version, description and address."""

from pathlib import Path
from xml.etree import ElementTree


def package_facts(root: Path) -> dict[str, str]:
    """The texts of the top elements of package.xml by name."""
    return {element.tag: (element.text or "").strip() for element in ElementTree.parse(root / "package.xml").getroot()}
