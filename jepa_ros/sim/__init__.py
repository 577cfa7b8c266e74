"""Simulated places with walking people, camera, lidar and odometry, made from a seed; as ROS 2 bags or live.

Seeds below 10,000 are for training, 10,000-10,999 for validation and 20,000 upwards for testing: every seed gives another layout, so
what is learned on one range is judged on places it has never seen.
"""
