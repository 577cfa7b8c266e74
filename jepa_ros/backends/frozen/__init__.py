"""A frozen back-end with a predictor and probes of one's own on top, made by `python -m jepa_ros.training frozen`.

`network`: predictor and probe. `model`: the back-end that joins them to the encoder that they were trained on.
"""
