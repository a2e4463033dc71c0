"""Other ways to serve the same network, each one file, written after its public documentation."""
