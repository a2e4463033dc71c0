"""Simulate many workers behind nginx: its four policies, its limits, faults, and loads that swing."""
