"""Measurements of the hot paths, each as a ratio against a baseline of the same run."""
