"""What a camera's vote is worth."""
