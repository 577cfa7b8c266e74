"""What cameras say of the candidates that the lidar proposes."""
