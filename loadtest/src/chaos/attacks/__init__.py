"""Hostile clients: `python -m chaos.attacks NAME HOST PORT`."""
