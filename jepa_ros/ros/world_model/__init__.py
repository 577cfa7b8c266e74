"""The `world_model` node: sensor topics in, latents and forecasts out."""
