"""The pool's agent: it watches the workers, and tells nginx and whoever asks which of them serve."""
