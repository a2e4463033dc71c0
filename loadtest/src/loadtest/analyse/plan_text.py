"""A plan as a person reads it."""

import math

from loadtest.analyse.plan import Plan, Steady

_SHOWN = 6


def text(plan: Plan) -> str:
    """The answer, the numbers of workers around it, cost, a failure, and what is assumed."""
    found = plan.tried[plan.workers]
    between = f"{plan.fewest} to {plan.most}" if plan.fewest < plan.most else f"{plan.workers}"
    if math.isinf(plan.most):
        between = f"{plan.fewest} or more (perhaps none, were service times at the long end of their interval)"
    lines = [
        f"{plan.workers} workers answer {plan.rate_hz:g} requests/s with p99 ≤ {1e3 * plan.slo_p99_s:g} ms under "
        f"{plan.policy} balancing, at ρ = {found.utilisation:.2f}. Interval, 95 %: {between}.",
        f"{'workers':>8} {'ρ':>6} {'mean ms':>9} {'p99 ms':>9} {'±':>7} {'refused %':>10}",
    ]
    near = sorted(plan.tried, key=lambda count: (abs(count - plan.workers), count))[:_SHOWN]
    lines += [_row(plan.tried[count]) for count in sorted(near)]
    lines += [
        f"Cost: {plan.cost_s:.0f} worker-seconds for a million good answers.",
        f"When one worker fails, {100 * plan.failed_late:.1f} ± {100 * plan.failed_half:.1f} % of the requests of the "
        "next 10 s are late, refused or lost (mean of 20 simulated failures, 95 %). " + _after(plan),
        f"Service times {plan.measured.service.source}; {1e3 * plan.measured.network_s:.2f} ms outside the worker.",
        f"Assumed: Poisson arrivals; equal workers, {_processes(plan.measured.processes)}; a balancer and a network "
        "that do not saturate. Each row is the steady state, simulated. ±: 95 % interval of p99. A worker more is "
        "taken where the interval reaches over the objective. A refused request counts as one that is never answered.",
    ]
    return "\n".join(lines)


def _row(one: Steady) -> str:
    half = f"{1e3 * one.p99_half_s:.1f}" if math.isfinite(one.p99_half_s) else "–"
    p99 = f"{1e3 * one.p99_s:.1f}" if math.isfinite(one.p99_s) else "–"
    start = f"{one.workers:>8} {one.utilisation:>6.2f} {1e3 * one.mean_s:>9.1f}"
    return f"{start} {p99:>9} {half:>7} {100 * one.refused:>10.3f}"


def _after(plan: Plan) -> str:
    left = plan.after_failure
    if plan.near_full:
        return (
            f"With {plan.workers - 1} workers ρ is so near to 1 that a simulation would not settle: they are taken for "
            "too few, and what they would do is not known."
        )
    if left is None:
        return "The workers that are left cannot serve this rate."
    p99 = f"p99 {1e3 * left.p99_s:.0f} ms" if math.isfinite(left.p99_s) else f"{100 * left.refused:.1f} % refused"
    return (
        f"The {left.workers} that are left have ρ = {left.utilisation:.2f} and {p99}. "
        f"With {plan.workers + 1} workers the objective holds without one of them."
    )


def _processes(count: int) -> str:
    return "one request at a time each" if count == 1 else f"{count} processes each, which share a queue"
