"""Trains a predictor and probes on a frozen encoder's latents."""
