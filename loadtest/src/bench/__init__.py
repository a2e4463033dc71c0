"""`make bench` and `make durations`: how much of the machine reaches a client, and how long the commands take."""
