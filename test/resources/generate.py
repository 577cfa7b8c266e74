"""Makes the tiny bag that the tests read: `python test/resources/generate.py [OUT]` writes it again, value for value."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from jepa_ros.sim.bag import BagSpec, write_bag

TINY = BagSpec(
    seed=20_005,
    scenario="corridor",
    duration_s=1.2,
    rate_hz=5.0,
    lidar_rings=16,
    lidar_azimuths=112,
    cameras=1,
    camera_size=(160, 90),
    n_people=3,
)


def main() -> None:
    """Write the bag over the old one."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny_bag"
    shutil.rmtree(out, ignore_errors=True)
    write_bag(out, TINY)
    print(f"{out}: {sum(file.stat().st_size for file in out.iterdir())} bytes")


if __name__ == "__main__":
    main()
