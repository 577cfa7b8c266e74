"""Messages to arrays: clouds, images, camera calibrations."""
