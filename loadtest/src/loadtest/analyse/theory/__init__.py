"""Queueing theory: formulas for the steady state, and a simulation of each balancing policy."""
