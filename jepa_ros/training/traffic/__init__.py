"""Teaches the forecaster of vehicles and cyclists, on simulated traffic as trackers see it."""
