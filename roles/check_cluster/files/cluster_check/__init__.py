"""Measures NPUs and the network between them, on every node of a cluster at once. Runs in the training's own environment."""
