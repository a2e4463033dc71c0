"""Where this host gets its packages from, so that the machines can use the same sources."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rspec.local_slice.host import SliceError, run

_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
# What of the host's apt settings decides whether a download works; everything else is the host's own affair.
_CARRIED = re.compile(
    r"^Acquire::((https?::)?(Proxy|Verify-Peer|Verify-Host|Timeout|Pipeline-Depth)|Check-Valid-Until|Check-Date|"
    r"ForceIPv4|ForceIPv6|Retries)(::\S+)? ",
    re.IGNORECASE,
)
_LOOPBACK = re.compile(r"//(\S+@)?(localhost|127\.|\[::1\])")


@dataclass(frozen=True, slots=True)
class Source:
    """One archive: its address, one suite of it and the components wanted."""

    uri: str
    suite: str
    components: tuple[str, ...]


def _one_line_sources(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            yield Source(match["uri"], match["suite"], tuple(match["components"].split()))


def _stanza_sources(text: str) -> Iterator[Source]:
    """Read the deb822 format of sources.list(5): stanzas of `Field: value`, continued by indented lines."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()))


def read_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Read every enabled binary source of a host, in apt's order."""
    found: list[Source] = []
    lists = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for path in lists:
        if path.suffix == ".sources" and path.is_file():
            found.extend(_stanza_sources(path.read_text(errors="replace")))
        elif path.suffix == ".list" and path.is_file():
            found.extend(_one_line_sources(path.read_text(errors="replace")))
    return found


def sources_of_release(release: str, folder: Path = Path("/etc/apt")) -> list[Source]:
    """The archives of one release that a machine can reach: the release itself, its updates and security.

    Returns:
        Sources over http or https, the release's own suite first; empty where the host has no source of it.
    """
    suites = (release, f"{release}-updates", f"{release}-security")
    found = [
        source
        for source in read_sources(folder)
        if source.suite in suites and source.uri.startswith(("http://", "https://"))
    ]
    # A third party's archive may use the same suite name; the release's own has the component main.
    found = [source for source in dict.fromkeys(found) if "main" in source.components]
    found.sort(key=lambda source: suites.index(source.suite))
    return found if found and found[0].suite == release else []


def sources_text(sources: list[Source]) -> str:
    """Write sources in apt's one-line format."""
    return "".join(f"deb {item.uri} {item.suite} {' '.join(item.components)}\n" for item in sources)


def carried_settings() -> tuple[str, list[str]]:
    """The host's proxies and the like, as an apt.conf for the machines.

    Returns:
        The text, and notices about settings that cannot work inside a machine.
    """
    try:
        dump = run(["apt-config", "dump"])
    except SliceError:
        return "", []
    lines = [line for line in dump.splitlines() if _CARRIED.match(line) and '""' not in line]
    lost = [line for line in lines if _LOOPBACK.search(line)]
    notices = [
        f"the host's apt setting {shlex.quote(line)} points at the host's own loopback and is not carried into "
        "the machines; let the proxy listen on another address for `apt-get` to work there"
        for line in lost
    ]
    return "".join(f"{line}\n" for line in lines if line not in lost), notices
