"""Messages and bags -> Observations, and Observations -> grids. ROS-free: messages are read by their fields."""

from jepa_ros.sensing.bag import BagError, BagInfo, RawMessage, bag_info, camera_info_topic, open_bag, read_raw
from jepa_ros.sensing.calibration import camera_model, project
from jepa_ros.sensing.cloud import Cloud, decode_cloud
from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.errors import MalformedMessage
from jepa_ros.sensing.ground import GroundEstimator
from jepa_ros.sensing.image import decode_compressed_image, decode_image
from jepa_ros.sensing.status import InputStatus
from jepa_ros.sensing.transforms import TransformError, TransformTree
from jepa_ros.sensing.voxelize import (
    DEFAULT_GRID,
    anchor_cloud,
    anchor_lidar,
    anchor_points,
    occupancy_grid,
    pillar_channels,
    pillars,
    visible_cells,
)
from jepa_ros.sensing.window import SensorHub

__all__ = [
    "DEFAULT_GRID",
    "BagError",
    "BagInfo",
    "Cloud",
    "GroundEstimator",
    "InputStatus",
    "MalformedMessage",
    "RawMessage",
    "SensingConfig",
    "SensorHub",
    "TransformError",
    "TransformTree",
    "anchor_cloud",
    "anchor_lidar",
    "anchor_points",
    "bag_info",
    "camera_info_topic",
    "camera_model",
    "decode_cloud",
    "decode_compressed_image",
    "decode_image",
    "occupancy_grid",
    "open_bag",
    "pillar_channels",
    "pillars",
    "project",
    "read_raw",
    "visible_cells",
]
