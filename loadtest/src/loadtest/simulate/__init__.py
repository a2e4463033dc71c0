"""Simulate many workers behind balancers: nginx's four policies, its limits, workers that fail, loads that swing."""
