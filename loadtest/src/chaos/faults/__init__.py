"""The faults: how each is brought about from outside, how its cause is taken away, and its bar."""

from chaos.fault import Fault
from chaos.faults import balancer, changes, hostile, network, overload, pair, resources, scaling, workers

ALL: tuple[Fault, ...] = (
    *workers.FAULTS,
    *network.FAULTS,
    *resources.FAULTS,
    *balancer.FAULTS,
    *pair.FAULTS,
    *overload.FAULTS,
    *changes.FAULTS,
    *scaling.FAULTS,
    *hostile.FAULTS,
)
