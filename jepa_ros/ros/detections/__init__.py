"""Detections of other nodes as evidence: vision_msgs and Autoware's, where those are installed."""
