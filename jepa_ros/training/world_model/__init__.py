"""Trains scene_jepa: bags to shards, shards to windows, windows to weights."""
