"""Simulated places with walking people, camera, lidar and odometry, made from a seed; as ROS 2 bags or live.

Seeds below 10,000 are for training, 10,000-10,999 for validation and 20,000 upwards for testing and demonstrations: every seed gives
another layout, so what is learned on one range is judged on places it has never seen. The `square` is a kind of place that is in no set
of training bags at all.

The way through the modules: `worlds` (a Layout from a seed) -> `simulation` (people, vehicles and the ego in it) -> `sensors` and
`recording` (what the ego measures) -> `messages` -> `bag` or the simulator node.
"""
