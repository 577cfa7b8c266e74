#!/usr/bin/env bash
# Runs a command in the built environment, from any directory:   scripts/env.sh python -m pytest -q
# Without a command it opens a shell. Build first: make build.
#
# It gives the command .venv, the workspace in .ros/install (generated messages, `ros2 run` executables), the source tree in front of
# PYTHONPATH (edits are live; only changed msg/, srv/ and new launch or config files need `make build`), DDS that stays on this machine
# and the shared-memory profile. Variables that are already set, such as ROS_DOMAIN_ID, are kept.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ ! -f "$root/.ros/install/local_setup.bash" ]; then
  echo "[env] nothing is built in $root/.ros yet; run: make build" >&2
  exit 1
fi
[ -n "${ROS_DISTRO:-}" ] || export AMENT_PREFIX_PATH=$root/.venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}
export VIRTUAL_ENV=$root/.venv PATH=$root/.venv/bin:$PATH
source "$root/.ros/install/local_setup.bash"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
profile=FASTDDS_DEFAULT_PROFILES_FILE
[ "${ROS_DISTRO:-}" != jazzy ] || profile=FASTRTPS_DEFAULT_PROFILES_FILE # its older name, which later releases warn about
export "$profile=${!profile:-$root/config/fastdds.xml}"
exec "${@:-${SHELL:-bash}}"
