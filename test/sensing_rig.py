"""A sensor hub with a clock that a test moves, and good messages for it."""

import sensing_messages as messages

from jepa_ros.sensing import SensingConfig, SensorHub

T = messages.START_S


class Rig:
    """A hub with a hand-moved clock and a rig that sends good messages at 10 Hz."""

    def __init__(self, **config):
        self.now_ns = 0
        self.hub = SensorHub(SensingConfig(**config), clock_ns=lambda: self.now_ns)
        self.hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
        self.hub.put_camera_info("front", messages.camera_info())

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def frame(self, stamp_s: float, lidar: bool = True, camera: bool = True, odometry: bool = True) -> None:
        if odometry:
            self.hub.put_odometry("odom", messages.odometry(stamp_s, x=stamp_s - T))
        if camera:
            self.hub.put_image("front", messages.image(stamp_s))
        if lidar:
            self.hub.put_cloud("points", messages.cloud(stamp_s))

    def drive(self, start_s: float, frames: int, **sensors):
        taken = []
        for index in range(frames):
            self.wait(0.1)
            self.frame(start_s + 0.1 * index, **sensors)
            self.wait(0.06)
            taken.append(self.hub.take())
            self.wait(-0.06)
        return taken


def broken_cloud(stamp_s: float):
    """A cloud whose data are cut off."""
    message = messages.cloud(stamp_s)
    message.data = message.data[:10]
    return message
