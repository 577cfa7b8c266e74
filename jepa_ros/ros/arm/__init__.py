"""Robot arms over ROS: answers about their motions, and a simulated one."""
