#!/usr/bin/env bash
# Runs a command in the built workspace. `exec`: signals reach the command itself, so that `docker stop` stops the robot as Ctrl-C does.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/venv/bin/activate
source /ws/install/setup.bash
# Shared memory for large messages, unless you have chosen a profile (Jazzy's Fast DDS knows the older name of the variable alone).
profile=FASTDDS_DEFAULT_PROFILES_FILE
[ "$ROS_DISTRO" != jazzy ] || profile=FASTRTPS_DEFAULT_PROFILES_FILE
export "$profile=${!profile:-/ws/install/jepa_ros/share/jepa_ros/config/fastdds.xml}"
exec "$@"
