"""Recipes that make model bundles: download, export, training."""
