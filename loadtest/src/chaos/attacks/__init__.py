"""Hostile clients: `python -m chaos.attacks NAME HOST PORT`; slow ones need the standard library alone."""
