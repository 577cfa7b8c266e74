"""Where things are in the checkout, for tests in any folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "test" / "resources"
