"""Autoware's messages, where they are installed: objects out and in, trajectories out. They are imported where they are used."""
