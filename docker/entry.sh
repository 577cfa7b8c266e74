#!/usr/bin/env bash
# Runs a command in the built workspace. `exec`: signals reach the command itself, so that `docker stop` stops the robot as Ctrl-C does.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/venv/bin/activate
source /ws/install/setup.bash
exec "$@"
