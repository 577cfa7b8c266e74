"""The default world model: a joint-embedding predictive model over a bird's-eye-view grid."""
