"""What a benchmark says about where it ran: the machine and the commit."""

from __future__ import annotations

from loadtest.experiments.provenance import client_facts, source_state


def machine_here() -> str:
    """Return the processor, the cores that this process may use, and the system's versions, in one line."""
    facts = client_facts()
    return f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, Linux"


def commit_here() -> str:
    """Return the commit of the checkout, and whether files differ from it."""
    state = source_state()
    return f"{str(state['commit'])[:7]}{' with local changes' * bool(state['dirty'])}"
