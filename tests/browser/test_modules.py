"""The page's pure functions, run where they will run: in the browser, served by the deployment."""

from collections.abc import Callable

import pytest

SPLITS = {
    "through-the-balancer": (
        30.0,
        {"upstream": 20.0, "queue": 3.0, "decode": 4.0, "inference": 6.0, "total": 11.0},
        {"upload": 10, "balancer": 6, "queue": 3, "decode": 4, "inference": 6, "other": 1},
    ),
    "without-a-balancer": (
        30.0,
        {"queue": 0.0, "decode": 4.0, "inference": 6.0, "total": 11.0},
        {"upload": 19, "queue": 0, "decode": 4, "inference": 6, "other": 1},
    ),
    "clocks-that-disagree": (
        10.0,
        {"upstream": 11.0, "queue": 1.0, "decode": 4.0, "inference": 6.5, "total": 11.0},
        {"upload": 0, "balancer": 0, "queue": 1, "decode": 4, "inference": 6.5, "other": 0.5},
    ),
    "no-server-timing": (10.0, {}, {"upload": 10, "queue": 0, "decode": 0, "inference": 0, "other": 0}),
}
HEADERS = {
    "worker-and-balancer": (
        "queue;dur=1.2, decode;dur=1.5, inference;dur=4.1, total;dur=7.0, edge;dur=12, upstream;dur=9",
        {"queue": 1.2, "decode": 1.5, "inference": 4.1, "total": 7.0, "edge": 12, "upstream": 9},
    ),
    "quoted-comma": ('queue;desc="a, b";dur=2,decode;dur="3"', {"queue": 2, "decode": 3}),
    "no-duration": ("cache, upstream;dur=, decode;dur=1", {"decode": 1}),
    "absent": (None, {}),
}


@pytest.mark.parametrize("case", SPLITS)
def test_the_time_is_split(visit: Callable, case: str) -> None:
    browser_ms, server, expected = SPLITS[case]
    parts = (
        visit()
        .open()
        .page.evaluate(
            "async ([ms, server]) => (await import('./timing.js')).splitTime(ms, server)", [browser_ms, server]
        )
    )
    assert {part["key"]: part["ms"] for part in parts} == pytest.approx(expected)


@pytest.mark.parametrize("case", HEADERS)
def test_server_timing_is_read(visit: Callable, case: str) -> None:
    header, expected = HEADERS[case]
    read = "async (header) => (await import('./timing.js')).parseServerTiming(header)"
    assert visit().open().page.evaluate(read, header) == expected


def units(text: str) -> str:
    """A size as the page writes it: no line may end between the number and its unit."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def test_figures_read_well(visit: Callable) -> None:
    here = visit().open()
    shown = here.page.evaluate("""async () => {
      const { formatMs, median } = await import("./timing.js");
      const { formatShare, plainLabel } = await import("./answer.js");
      const { formatBytes, formatLimit } = await import("./explain.js");
      const { parseRetryAfter } = await import("./api.js");
      return [
        [0, 0.44, 9.949, 9.95, 38.4, 999.4, 999.5, 1240].map(formatMs),
        [0, 0.0005, 0.004, 0.0994, 0.0996, 0.55, 0.99, 0.995, 1].map(formatShare),
        [[3], [1, 9], [5, 1, 3]].map(median),
        ["Egyptian_cat", "goldfish, Carassius auratus"].map(plainLabel),
        [0, 1, 1023, 1025, 1047553, 1572864, 20971520, 20971521].map((bytes) => formatBytes(bytes)),
        [20971520, 20971519, 15000000, 1048575].map((bytes) => formatLimit(bytes)),
        ["3", "0", "9999", null, "soon", new Date(10_000).toUTCString()].map((text) => parseRetryAfter(text, 4_000)),
      ];
    }""")
    assert shown == [
        ["0.0 ms", "0.4 ms", "9.9 ms", "10 ms", "38 ms", "999 ms", "1.00 s", "1.24 s"],
        ["under 1%", "under 0.1%", "0.4%", "9.9%", "10%", "55%", "99%", "over 99%", "over 99%"],
        [3, 5, 3],
        ["Egyptian cat", "goldfish"],
        [units(size) for size in ("0 bytes", "1 byte", "1023 bytes", "2 KB", "1 MB", "1.5 MB", "20 MB", "20.1 MB")],
        [units(size) for size in ("20 MB", "19.9 MB", "14.3 MB", "1023 KB")],
        [3, 1, 60, 2, 2, 6],
    ]


def test_workers_have_colours_of_their_own(visit: Callable) -> None:
    here = visit().open()
    names = [f"worker{n}" for n in range(1, 9)] + ["alpha", ""]
    hues = here.page.evaluate(
        "async (names) => { const { workerHue } = await import('./workers.js'); return names.map(workerHue); }", names
    )
    again = here.page.evaluate(
        "async (names) => { const { workerHue } = await import('./workers.js'); return names.map(workerHue); }", names
    )
    assert hues == again
    assert all(0 <= hue < 360 for hue in hues)
    apart = [abs((a - b + 180) % 360 - 180) for i, a in enumerate(hues[:8]) for b in hues[:i]]
    assert min(apart) > 15
