"""Find what a service can carry: its capacity, and the highest rate at which an objective holds."""
