"""What Nav2's StaticLayer and ObstacleLayer make of a message in a rolling costmap: their rules, read in nav2_costmap_2d (branch kilted).

The layers themselves are C++ and have no wheel.
"""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2

FREE, LETHAL, UNKNOWN = 0, 254, 255


class RollingCostmap:
    """A square around the robot, along the axes of the global frame."""

    def __init__(self, robot_m: tuple[float, float], side_m: float = 20.0, resolution_m: float = 0.1) -> None:
        self.resolution_m = resolution_m
        cells = round(side_m / resolution_m)
        # Costmap2D::updateOrigin snaps a window that rolls to whole cells.
        self.origin_m = np.floor((np.array(robot_m) - side_m / 2) / resolution_m) * resolution_m
        self.cost_YX = np.full((cells, cells), UNKNOWN, np.uint8)

    def centres(self) -> np.ndarray:
        """(Y, X, 2) m in the global frame."""
        rows, columns = np.indices(self.cost_YX.shape)
        return self.origin_m + self.resolution_m * (np.stack([columns, rows], axis=-1) + 0.5)

    def static_layer(self, grid: OccupancyGrid, grid_from_global: np.ndarray, lethal_threshold: int = 50) -> None:
        """StaticLayer::updateCosts where the window rolls: each cell's centre, by the newest transform, in the map as processMap read it.

        track_unknown_space, trinary_costmap; the origin's rotation is not looked at.
        """
        values = np.array(grid.data, np.int16).astype(np.uint8)  # an unsigned char: -1 is 255
        costs = np.where(values == 255, UNKNOWN, np.where(values >= lethal_threshold, LETHAL, FREE)).astype(np.uint8)
        costs = costs.reshape(grid.info.height, grid.info.width)
        places = self.centres() @ grid_from_global[:2, :2].T + grid_from_global[:2, 3]
        corner = (grid.info.origin.position.x, grid.info.origin.position.y)
        column, row = np.floor((places - corner) / grid.info.resolution).astype(int).transpose(2, 0, 1)
        inside = (column >= 0) & (row >= 0) & (column < grid.info.width) & (row < grid.info.height)
        self.cost_YX[inside] = costs[row[inside], column[inside]]

    def obstacle_layer(self, cloud: PointCloud2, global_from_cloud: np.ndarray, heights_m: tuple[float, float], range_m: float) -> None:
        """ObservationBuffer and ObstacleLayer::updateBounds, marking: heights in the global frame, range from the cloud's origin."""
        points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 3)
        places = points @ global_from_cloud[:3, :3].T + global_from_cloud[:3, 3]
        near = np.linalg.norm(places - global_from_cloud[:3, 3], axis=1) < range_m
        places = places[near & (places[:, 2] >= heights_m[0]) & (places[:, 2] <= heights_m[1])]
        column, row = np.floor((places[:, :2] - self.origin_m) / self.resolution_m).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < self.cost_YX.shape[1]) & (row < self.cost_YX.shape[0])
        self.cost_YX[row[inside], column[inside]] = LETHAL
