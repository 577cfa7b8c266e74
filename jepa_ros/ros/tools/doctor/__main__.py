"""`python -m jepa_ros.ros.tools.doctor`."""

from jepa_ros.ros.entry import start

start("doctor")
