"""Send load on time and record what comes back: arrivals, photographs, the client, the runner, samples."""
