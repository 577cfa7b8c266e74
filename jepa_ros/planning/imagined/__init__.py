"""Motions judged by what the world model itself predicts of them."""
