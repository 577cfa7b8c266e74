"""Training from bags: the world model, the pedestrian forecaster, predictors on frozen encoders."""
