"""Compare two runs: whether they can be, how much they differ, and whether the second is worse."""
