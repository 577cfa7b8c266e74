"""Messages and bags -> Observations, and Observations -> grids. ROS-free: messages are read by their fields."""

from jepa_ros.sensing.bag import BagError, BagInfo, RawMessage, bag_info, camera_info_topic, open_bag, read_raw
from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.decode.camera_info import camera_model, project
from jepa_ros.sensing.decode.cloud import Cloud, decode_cloud
from jepa_ros.sensing.decode.errors import MalformedMessage
from jepa_ros.sensing.decode.image import decode_compressed_image, decode_image
from jepa_ros.sensing.frames.transforms import TransformError, TransformTree
from jepa_ros.sensing.ground import GroundEstimator
from jepa_ros.sensing.hub.hub import SensorHub
from jepa_ros.sensing.hub.status import InputStatus
from jepa_ros.sensing.voxelize import (
    DEFAULT_GRID,
    anchor_lidar,
    anchor_points,
    occupancy_grid,
    pillar_channels,
    pillars,
    visible_cells,
)

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
