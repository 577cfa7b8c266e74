"""python -m jepa_ros.exchange {export_lerobot, import_lerobot, import_kitti, import_nuscenes, camera_detector} ...: other formats."""

import importlib
import sys

TOOLS = {
    "export_lerobot": "lerobot_out",
    "import_lerobot": "lerobot_in",
    "import_kitti": "kitti",
    "import_nuscenes": "nuscenes",
    "camera_detector": "nanodet",
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name not in TOOLS:
        print(f"usage: python -m jepa_ros.exchange {{{','.join(TOOLS)}}} ... (--help: its options)", file=sys.stderr)
        return 0 if name in ("-h", "--help") else 2
    tool = importlib.import_module(f"jepa_ros.exchange.{TOOLS[name]}")
    return tool.main(rest)


if __name__ == "__main__":
    sys.exit(main())
