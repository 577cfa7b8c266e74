"""Experiments: each folder is one story from its environment to its report. Not installed on a robot."""
