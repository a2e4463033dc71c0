"""When a trial says more about the generator, or about other programs, than about the service."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.generate.limits import BY_ADDRESS
from loadtest.generate.samples import Sample

# The generator's own figure: a lag below it is not held against a trial, however short the service time.
LAG_FLOOR_S = 0.002
# What the host did, by its name in the footer: the limit's name, and what to say of a trial beyond it.
HOST = {
    "others": ("other_cpu", "other programs used {found:.1%} of the processor time of the client's host"),
    "steal": ("steal", "the hypervisor kept {found:.1%} of the processor time from the client's host"),
    "link": ("link", "the client's link was full: {found:.1%} of its rate"),
    "resent": ("resent", "the client's link lost packets: {found:.1%} of the TCP segments were sent again"),
}


def invalid_because(
    samples: Sequence[Sample],
    footer: Mapping[str, Any] | None,
    service_s: float | None,
    limits: Mapping[str, float],
) -> list[str]:
    """List why a trial is not to be trusted; empty when it is.

    Args:
        samples: Its samples.
        footer: What the generator noticed of itself and of its host; None for an incomplete trial.
        service_s: Mean service time in seconds; None where it was not measured, then the mean response is taken.
        limits: lag_of_service (p99 lag as a share of the service time), client_cpu (share of one core), and as shares
            other_cpu, steal, link and resent, which runs of earlier versions do not have.
    """
    reasons = []
    if footer is None:
        reasons.append("it is incomplete")
    sent = [sample for sample in samples if sample.done_s > sample.sent_s]
    if not sent:
        empty = footer is not None and not samples
        return [*reasons, "no request was due: lengthen it or raise its rate" if empty else "no request was sent"]
    lag_s = float(np.quantile([sample.lag_s for sample in sent], 0.99))
    limited = sum(sample.error == BY_ADDRESS for sample in samples)
    if limited:
        reasons.append(
            f"the balancer refused {limited} of {len(samples)} requests by its limit for one address; set "
            "balancer_address_rate_hz and balancer_address_connections to 0"
        )
    if service_s is None:
        service_s = float(np.mean([sample.service_s for sample in sent]))
    limit_s = max(LAG_FLOOR_S, limits["lag_of_service"] * service_s)
    if lag_s > limit_s:
        reasons.append(f"the generator lagged: p99 {lag_s * 1e3:.1f} ms, limit {limit_s * 1e3:.1f} ms")
    if footer is not None:
        worked = footer["cpu_share"] - footer.get("spin_share", 0.0)  # a spin waits, awake, and ends when work comes
        if worked > limits["client_cpu"]:
            reasons.append(f"the client's CPU was saturated: {worked:.2f} of one core")
        if footer["not_sent"]:
            reasons.append(f"{footer['not_sent']} requests were not sent because of the in-flight limit")
        in_system = sum(sample.service_s for sample in sent) / footer["wall_s"]
        if abs(in_system - footer["mean_in_flight"]) > 0.02 * max(in_system, 1.0):
            reasons.append(
                f"Little's law fails: {footer['mean_in_flight']:.2f} requests were under way on average, the samples "
                f"say {in_system:.2f}"
            )
        reasons += disturbed_by(footer, limits)
    return reasons


def unmeasured(samples: Sequence[Sample], warmup_s: float) -> list[str]:
    """Say of a trial whose requests were all due within its warm-up that nothing of it is left; empty of others."""
    if not samples or any(one.scheduled_s >= warmup_s for one in samples):
        return []
    return [f"all its requests were due within its warm-up of {warmup_s:g} s"]


def disturbed_by(footer: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """List what of the client's host disturbed a load; a limit that is missing is not asked."""
    return [
        f"{text.format(found=found)}, limit {limits[limit]:.1%}"
        for name, (limit, text) in HOST.items()
        if (found := footer.get(name)) is not None and found > limits.get(limit, float("inf"))
    ]
