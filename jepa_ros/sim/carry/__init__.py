"""A robot arm that carries things: motions decide which grips hold."""
