"""Hostile clients: `python -m chaos.attacks NAME HOST PORT`; carrying one out needs the standard library alone."""
