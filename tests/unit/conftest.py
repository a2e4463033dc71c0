"""What hypothesis draws in this tier: the same in every run, at whatever speed, so that a run fails by no chance."""

import hypothesis

hypothesis.settings.register_profile(
    "unit", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")
