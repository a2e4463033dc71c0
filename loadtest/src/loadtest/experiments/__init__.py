"""Experiments as data: designs, their levels and cells, and running them."""
