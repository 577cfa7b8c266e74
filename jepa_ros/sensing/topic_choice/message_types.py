"""Message types: those that are read, and those that people record instead, with what helps."""

from __future__ import annotations

from collections.abc import Iterable

IMAGE, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
CLOUD, ODOMETRY, TF = "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
ROLES = {"camera": (IMAGE, COMPRESSED), "lidar": (CLOUD,), "odometry": (ODOMETRY,)}
ROLE_OF = {kind: role for role, kinds in ROLES.items() for kind in kinds}

# What carries the same but is not read -> what to do.
NOT_READ = {
    "sensor_msgs/msg/LaserScan": "a LaserScan is not read: make it a PointCloud2 (laserscan_to_pointcloud of pointcloud_to_laserscan)",
    "sensor_msgs/msg/PointCloud": "the old PointCloud is not read: publish a PointCloud2",
    "livox_ros_driver/msg/CustomMsg": "Livox's own message is not read: start the driver with xfer_format 0 (PointCloud2)",
    "livox_ros_driver2/msg/CustomMsg": "Livox's own message is not read: start the driver with xfer_format 0 (PointCloud2)",
    "velodyne_msgs/msg/VelodyneScan": "raw packets: run velodyne_pointcloud's transform node",
    "ouster_sensor_msgs/msg/PacketMsg": "raw packets: run ouster_ros's cloud node",
    "ouster_msgs/msg/PacketMsg": "raw packets: run ouster_ros's cloud node",
    "rslidar_msg/msg/RslidarPacket": "raw packets: run rslidar_sdk with msg_source 2",
    "hesai_ros_driver/msg/UdpFrame": "raw packets: run hesai_ros_driver with its packets as source",
    "nebula_msgs/msg/NebulaPackets": "raw packets: run nebula's decoder",
    "point_cloud_interfaces/msg/CompressedPointCloud2": "a compressed cloud: republish it raw (point_cloud_transport republish)",
    "theora_image_transport/msg/Packet": "theora video is not read: republish it raw or compressed (image_transport republish)",
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "encoded video is not read: republish it raw or compressed (image_transport republish)",
    "foxglove_msgs/msg/CompressedVideo": "encoded video is not read: publish sensor_msgs/CompressedImage with jpeg or png",
}  # fmt: skip


def transform_topics(topics: Iterable[str]) -> list[str]:
    """Of the topics that carry transforms, those of the vehicle: /tf and /tf_static, or those of one namespace where there are none.

    Others have the same type and are no part of its tree: recorded truth, another robot's. On a live graph remapping tells them apart.
    """
    topics = sorted(topics)
    spaces: dict[str, dict[str, str]] = {}  # kind -> namespace -> topic
    for topic in topics:
        space, kind = topic.rsplit("/", 1) if "/" in topic else ("", topic)
        if kind in ("tf", "tf_static"):
            spaces.setdefault(kind, {})[space] = topic
    if not spaces:
        return topics
    # The namespace that has most of the two; of several, the first by name, as of odometries.
    names = {space for found in spaces.values() for space in found}
    chosen = "" if "" in names else min(names, key=lambda space: (-sum(space in found for found in spaces.values()), space))
    return [found[chosen] for found in spaces.values() if chosen in found]


def camera_info_topic(image_topic: str, known: Iterable[str]) -> str | None:
    """The CameraInfo topic that belongs to an image topic: camera_info in its namespace, or in that of the stream it is a transport of."""
    known = set(known)
    parts = image_topic.split("/")
    for depth in range(len(parts) - 1, 0, -1):
        candidate = "/".join([*parts[:depth], "camera_info"])
        if candidate in known:
            return candidate
    return None
