"""Datasets: tokens on disk, and the index cache that samples are drawn by."""
