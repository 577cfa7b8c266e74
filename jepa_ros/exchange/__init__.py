"""Recordings in other formats, in and out: LeRobot, KITTI."""
