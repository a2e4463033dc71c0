"""A coverage-guided fuzzer on what strangers' bytes meet in a worker: ``make fuzz``."""
