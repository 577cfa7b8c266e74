"""What the ego measures: lidar, camera, odometry."""
