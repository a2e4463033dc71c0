"""Everything around profile.py: geni-lib under today's Python, request RSpecs, their checks, the local slice."""
