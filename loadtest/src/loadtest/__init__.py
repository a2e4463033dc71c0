"""Measure an image-recognition service over HTTP: load, experiments, summaries, figures, theory."""

__version__ = "1.0.0"
