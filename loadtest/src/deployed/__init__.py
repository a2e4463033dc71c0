"""Systems deployed from this checkout, as chaos, bench and the tests drive them: by the commands that people use."""
