"""The dashboard: what the deployment does, and pools that no test can have: 64 workers, none, a balancer that is away.

There the balancer's figures are replaced on their way to the browser; one test holds their form to the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe

NOW = 1_764_000_000
KEPT_S = 300
# Browsers log what does not answer.
LOGGED = r"ERR_FAILED|status of 503|status of 429"
DECISIONS = [
    {
        "time": "2026-11-26T10:00:00Z",
        "from": 2,
        "to": 3,
        "reason": "the wait is above the objective",
        "metrics": {"rate_hz": 41.234},
    },
    {"time": "2026-11-26T10:05:00Z", "from": 3, "to": 2, "reason": "two are enough", "metrics": {"note": None}},
]
AUTOSCALER = {"on": True, "minimum": 1, "maximum": 4, "objective_s": 0.2, "active": 2, "target": 3}
AUTOSCALER |= {"acts": True, "notices": [], "decisions": DECISIONS}
WHY = {
    "down": "cannot be reached: No route to host",
    "draining": "is taken out",
    "standby": "sleeps until it is needed",
}


def worker(number: int, count: int, state: str = "up") -> dict[str, Any]:
    told: dict[str, Any] = {"name": f"worker{number}", "state": state, "busy": number % 5, "rate_hz": 31.4}
    told |= {"share": round(1 / count, 3), "p99_ms": 40 + number}
    if state != "up":
        told |= {"busy": None, "rate_hz": 0, "share": 0, "p99_ms": None, "since": "2025-11-24T15:58:00Z"}
        told["why"] = WHY[state]
    return told


@dataclass
class Told:
    """What the page is told in the place of the deployment's figures; a second passes each time that it asks.

    Attributes:
        status: 200, another one, or 0 for no answer at all.
        kept: Whether there is a history.
        history_status: Of the answer to who asks for it.
        asked: The `since` of each question.
        asked_history: The hours of each question for the history.
    """

    workers: list[dict[str, Any]]
    now: int = NOW
    status: int = 200
    autoscaler: dict[str, Any] = field(default_factory=lambda: {"on": False})
    autoscaler_status: int = 200
    kept: bool = False
    asked: list[int | None] = field(default_factory=list)
    asked_history: list[int] = field(default_factory=list)
    history_status: int = 200

    def serve(self, page: Any) -> None:
        page.route("**/live-figures*", self._figures)
        page.route("**/autoscaler", self._autoscaler)
        page.route("**/history?*", self._history)

    def _autoscaler(self, route: Any) -> None:
        route.fulfill(status=self.autoscaler_status, json=self.autoscaler)

    def _history(self, route: Any) -> None:
        hours = int(parse_qs(urlsplit(route.request.url).query)["hours"][0])
        self.asked_history.append(hours)
        route.fulfill(status=self.history_status, json=self.history(hours) if self.kept else {"on": False})

    def history(self, hours: int) -> dict[str, Any]:
        """As the agent tells it: the first half is not known, and an hour has another rate than six."""
        step, half = hours * 12, KEPT_S // 2
        known = {"serving": 2, "members": 3, "requests": 7.25 * hours, "refused": 0.0625, "errors": 0, "lost": 0}
        known |= {"p50_ms": 21.5, "p99_ms": 80}
        columns = {name: [None] * half + [value] * half for name, value in known.items()}
        points = {"first": self.now - (KEPT_S - 1) * step, "step_s": step, **columns}
        return {"on": True, "hours": hours, "points": points}

    def _figures(self, route: Any) -> None:
        since = parse_qs(urlsplit(route.request.url).query).get("since")
        self.asked.append(int(since[0]) if since else None)
        self.now += 1
        if self.status == 0:
            route.abort()
        elif self.status != 200:
            route.fulfill(status=self.status, json={"status": self.status})
        else:
            route.fulfill(json=self.figures(self.asked[-1]))

    def figures(self, since: int | None) -> dict[str, Any]:
        first = max(self.now - KEPT_S + 1, 0 if since is None else since + 1)
        seconds = range(first, self.now + 1)
        up = sum(each["state"] == "up" for each in self.workers)
        rates = [round(up * (30 + 10 * math.sin(second / 40))) for second in seconds]
        columns = {
            "serving": [up if second > NOW - 100 else max(0, up - 1) for second in seconds],
            "members": [len(self.workers)] * len(seconds),
            "answered": rates,
            "refused": [rate // 20 if second % 120 < 15 else 0 for second, rate in zip(seconds, rates, strict=True)],
            "errors": [1 if second % 97 == 0 else 0 for second in seconds],
            "lost": [0] * len(seconds),
            "p50_ms": [20 + second % 7 if rate else None for second, rate in zip(seconds, rates, strict=True)],
            "p99_ms": [60 + (second * 13) % 40 if rate else None for second, rate in zip(seconds, rates, strict=True)],
        }
        answered = sum(rates[-10:])
        times = {"mean_ms": 24.3, "p50_ms": 23, "p99_ms": 87} if up else dict.fromkeys(("mean_ms", "p50_ms", "p99_ms"))
        counts = {"answered": answered, "refused": 12 if up else 0, "errors": 1, "lost": 0}
        return {
            "time": self.now,
            "window_s": 10,
            "requests": {"rate_hz": answered / 10, **counts, **times},
            "workers": self.workers,
            "seconds": {"first": first, **columns},
        }


def pool_of(count: int, **states: str) -> list[dict[str, Any]]:
    return [worker(number, count, states.get(f"worker{number}", "up")) for number in range(1, count + 1)]


def open_dashboard(visit: Callable, told: Told | None = None, **options: Any) -> Any:
    here = visit(expected_console=LOGGED, **options)
    if told is not None:
        told.serve(here.page)
    here.page.goto(f"{here.url}/dashboard")
    here.page.locator("#main:not([data-state=waiting])").wait_for()
    return here


STATES = {
    "two": lambda: Told(pool_of(2), autoscaler=AUTOSCALER),
    "hours": lambda: Told(pool_of(2), kept=True),
    "sixty-four": lambda: Told(pool_of(64, worker7="down", worker20="draining", worker64="standby")),
    "nobody": lambda: Told(pool_of(2, worker1="down", worker2="down")),
    "empty": lambda: Told([]),
    "away": lambda: Told(pool_of(2)),
}


def bring_to(visit: Callable, state: str, **options: Any) -> Any:
    told = STATES[state]()
    here = open_dashboard(visit, told, **options)
    if state == "two":
        here.page.locator("#autoscaler").wait_for()
    if state == "hours":
        here.page.locator("#charts-window").select_option("24 hours")
        here.page.locator("#charts-note").wait_for()
    if state == "away":
        told.status = 0
        here.page.locator("#main[data-state=stale]").wait_for()
    for details in here.page.locator("details").all():
        details.locator("summary").click()
    return here


@pytest.mark.parametrize("state", STATES)
def test_everybody_can_read_it(visit: Callable, state: str) -> None:
    """By axe, in the light and in the dark, on a phone, a tablet and a desktop."""
    here = bring_to(visit, state, reduced_motion="reduce")
    for scheme in ("light", "dark"):
        here.page.emulate_media(color_scheme=scheme)
        found = Axe().run(here.page)
        assert found.response["passes"], "axe looked at nothing"
        assert found.response["violations"] == [], found.generate_report()
    for width in (320, 768, 1440):
        here.page.set_viewport_size({"width": width, "height": 900})
        assert here.page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = here.page.evaluate(
            """(width) => [...document.querySelectorAll("main *, header *, footer *")]
                 .filter((element) => !element.closest(".table-scroll, svg") && element.checkVisibility()
                   && element.getBoundingClientRect().right > width + 0.5)
                 .map((element) => element.outerHTML.slice(0, 80))""",
            width,
        )
        assert beyond == []


def test_it_shows_what_the_deployment_does(visit: Callable, deployment: Any, photographs: dict[str, Path]) -> None:
    """And the figures that other tests replace have the form of the real ones."""
    here = open_dashboard(visit)
    assert here.page.locator(".tile").count() == 2
    for _ in range(20):
        with photographs["chelsea"].open("rb") as file:
            assert requests.post(f"{here.url}/predict", files={"image": file}, timeout=30).status_code == 200
    here.wait_until("Number(document.querySelector('.now-answered').textContent) >= 20")
    # All at once: the next second may show others.
    names, states, shares, times = here.page.evaluate(
        """[".tile-name", ".tile-state", ".tile-share", ".now-p50"]
             .map((each) => [...document.querySelectorAll(each)].map((element) => element.textContent))"""
    )
    assert set(names) == set(deployment.workers)
    assert set(states) == {"up"}
    assert sum(float(share.removesuffix("%")) for share in shares) == pytest.approx(100, abs=1)
    assert times[0].endswith((" ms", " s"))
    assert here.page.locator("#autoscaler").is_hidden()
    assert here.page.locator("#banner").is_hidden()

    real = requests.get(f"{here.url}/live-figures", timeout=60).json()
    made = STATES["two"]().figures(None)
    assert real.keys() == made.keys()
    for part in ("requests", "seconds"):
        assert real[part].keys() == made[part].keys()
    assert real["workers"][0].keys() == made["workers"][0].keys()


def test_it_asks_each_second_for_what_is_new(visit: Callable) -> None:
    told = Told(pool_of(3))
    here = open_dashboard(visit, told)
    here.wait_until("document.querySelector('.chart-line.requests').getAttribute('d').split('L').length === 300")
    before = here.page.locator(".chart-line.requests").get_attribute("d")
    while len(told.asked) < 4:
        here.page.wait_for_timeout(100)
    assert told.asked[:4] == [None, NOW + 1, NOW + 2, NOW + 3]
    here.wait_until(f"document.querySelector('.chart-line.requests').getAttribute('d') !== '{before}'")
    here.wait_until("document.querySelector('.chart-line.requests').getAttribute('d').split('L').length === 300")


def test_a_balancer_that_is_away_leaves_its_last_figures_and_returns(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    assert "Live" in here.text("#as-of")
    told.status = 0
    here.page.locator("#main[data-state=stale]").wait_for()
    assert "has not answered since" in here.text("#banner")
    assert here.text("#banner-title") in here.page.locator("#announcement").text_content()
    assert here.text(".now-rate") != "–"
    assert "Last figures" in here.text("#as-of")
    told.status = 503
    here.wait_until("document.getElementById('banner').dataset.kind === 'agent'")
    assert "agent" in here.text("#banner-title")
    told.status = 200
    here.page.locator("#main[data-state=live]").wait_for()
    assert here.page.locator("#banner").is_hidden()


def test_it_says_that_there_were_never_figures(visit: Callable) -> None:
    told = Told(pool_of(2), status=503)
    here = visit(expected_console=LOGGED)
    told.serve(here.page)
    here.page.goto(f"{here.url}/dashboard")
    here.page.locator("#banner").wait_for()
    assert here.page.locator("#now-heading").is_hidden()
    assert here.page.locator("#charts-heading").text_content() == "The last 5 minutes"
    titles = [title.text_content() for title in here.page.locator(".chart-title").all()]
    assert titles[:2] == ["Requests a second", "RTT"]
    assert "What you see" not in here.text("#banner")


def test_where_too_many_ask_it_asks_less_often(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    told.status = 429
    here.page.locator("#banner[data-kind=busy]").wait_for()
    waits = here.page.evaluate(
        """async () => {
          const { nextPeriod } = await import("./live.js");
          return [1000, 2000, 8000, 16000].map((ms) => nextPeriod(ms, "busy")).concat(nextPeriod(16000, undefined));
        }"""
    )
    assert waits == [2000, 4000, 16000, 16000, 1000]


@pytest.mark.parametrize(
    ("workers", "title"),
    [(pool_of(2, worker1="down", worker2="draining"), "No worker serves."), ([], "The pool has no worker.")],
    ids=["none-serves", "none-at-all"],
)
def test_a_pool_without_workers_is_said(visit: Callable, workers: list[dict[str, Any]], title: str) -> None:
    here = open_dashboard(visit, Told(workers))
    assert here.text("#banner-title") == title
    if workers:
        assert here.text("#states") == "1 draining, 1 down"
        assert "cannot be reached: No route to host, for 2 min" in here.page.locator(".tile-why").first.inner_text()


def test_who_does_not_see_it_hears_what_changes(visit: Callable) -> None:
    told = Told(pool_of(3))
    here = open_dashboard(visit, told)
    assert here.page.locator("#announcement").text_content() == ""
    told.workers = pool_of(2, worker2="down")
    here.wait_until("document.getElementById('announcement').textContent !== ''")
    heard = here.page.locator("#announcement").text_content()
    assert heard == "worker2 is down: cannot be reached: No route to host. worker3 has left the pool."
    label = here.page.locator(".chart-card svg").nth(2).get_attribute("aria-label")
    assert label.startswith("Workers in the pool, the last 5 minutes. serve: now ")


def test_who_does_not_see_a_chart_hears_that_there_is_no_value_now(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    told.workers = pool_of(2, worker1="down", worker2="down")
    label = "document.querySelectorAll('.chart-card svg')[1].getAttribute('aria-label')"
    here.wait_until(f"{label}.includes('p50: now –, from 20 ms to 26 ms; p99: now –, from ')")


def test_the_table_is_opened_by_keyboard_and_stays_as_it_was(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    here.page.locator("#table summary").focus()
    here.page.keyboard.press("Enter")
    rows = here.page.locator("#table-rows tr")
    rows.first.wait_for()
    assert rows.count() == KEPT_S // 10
    first = rows.first.inner_text()
    asked = len(told.asked)
    while len(told.asked) < asked + 2:
        here.page.wait_for_timeout(100)
    assert rows.first.inner_text() == first
    here.page.keyboard.press("Tab")
    assert here.page.evaluate("document.activeElement.className") == "table-scroll"


def test_hours_can_be_chosen_by_keyboard_and_the_rest_stays_live(visit: Callable) -> None:
    told = Told(pool_of(2), kept=True)
    here = open_dashboard(visit, told)
    here.page.locator("#table summary").click()
    here.page.locator("#charts-window").focus()
    here.page.keyboard.press("ArrowDown")
    here.page.locator("#charts-note").wait_for()
    assert here.text("#charts-heading") == "The last 1 hour"
    here.page.keyboard.press("ArrowDown")
    here.wait_until("document.getElementById('charts-heading').textContent === 'The last 6 hours'")
    assert told.asked_history == [1, 1, 6]  # whether there is one, and what was chosen
    assert here.page.locator("#announcement").text_content() == "The charts and the table show the last 6 hours."
    labels = [chart.get_attribute("aria-label") for chart in here.page.locator(".chart-card svg").all()]
    assert labels[0] == "Requests a second, the last 6 hours. requests: now 43.5, from 43.5 to 43.5."
    assert labels[1].startswith("Time at the workers, the last 6 hours. p50: now 22 ms, from 22 ms to 22 ms; p99: now ")
    assert {each.inner_text() for each in here.page.locator(".chart-begin").all()} == {"6 hours ago"}
    line = here.page.locator(".chart-line.requests").get_attribute("d")
    assert line.startswith("M150 ")
    assert line.count("L") == KEPT_S // 2 - 1
    rows = [row.inner_text().split("\t") for row in here.page.locator("#table-rows tr").all()]
    assert len(rows) == KEPT_S // 10
    assert rows[0][1:] == ["2 of 3", "43.5", "22 ms", "80 ms", "0.0625", "0", "0"]
    assert rows[-1][1:] == ["– of –", *["–"] * 6]
    assert "One row in 12 min" in here.text("#table-caption")
    before = here.text("#as-of")
    here.wait_until(f"document.getElementById('as-of').textContent !== '{before}'")
    assert here.page.locator(".chart-line.requests").get_attribute("d") == line
    here.page.locator("#charts-window").select_option("5 minutes")
    assert here.text("#charts-heading") == "The last 5 minutes"
    assert here.page.locator(".chart-line.requests").get_attribute("d").count("L") > KEPT_S // 2
    assert here.page.locator("#charts-note").is_hidden()


def test_hours_that_cannot_be_had_now_are_said(visit: Callable) -> None:
    told = Told(pool_of(2), kept=True)
    here = open_dashboard(visit, told)
    window, missing = here.page.locator("#charts-window"), here.page.locator("#charts-missing")
    window.select_option("1 hour")
    here.page.locator("#charts-note").wait_for()
    told.history_status = 503
    window.select_option("6 hours")
    missing.wait_for()
    assert "The last 6 hours cannot be had now." in missing.inner_text()
    assert here.text("#charts-heading") == "The last 1 hour"
    told.history_status, told.kept = 200, False
    window.select_option("24 hours")
    here.wait_until("document.getElementById('charts-heading').textContent === 'The last 5 minutes'")
    assert here.page.locator("#charts-choice").is_hidden()
    assert missing.is_hidden()


def test_without_a_history_there_is_no_choice(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    while len(told.asked) < 2:  # it is asked for after the first figures
        here.page.wait_for_timeout(100)
    assert told.asked_history == [1]
    assert here.page.locator("#charts-choice").is_hidden()
    assert here.text("#charts-heading") == "The last 5 minutes"


def test_the_autoscaler_s_decisions_have_their_reasons(visit: Callable) -> None:
    here = bring_to(visit, "two")
    state = here.text("#autoscaler-state")
    assert state == "It is on, between 1 and 4 workers. 2 serve now, 3 are wanted. Its objective is 200 ms."
    rows = here.page.locator("#decisions tr")
    assert [row.locator(".decision-reason").inner_text() for row in rows.all()] == [
        "two are enough",
        "the wait is above the objective",
    ]
    assert rows.nth(0).locator(".decision-change").inner_text() == "3 → 2"
    assert rows.nth(1).locator(".decision-metrics").inner_text() == "rate hz 41.2"


def test_without_an_autoscaler_there_is_no_panel(visit: Callable) -> None:
    told = Told(pool_of(2))
    here = open_dashboard(visit, told)
    while len(told.asked) < 2:  # it is asked for after the first figures
        here.page.wait_for_timeout(100)
    assert here.page.locator("#autoscaler").is_hidden()


def test_one_that_waits_and_one_that_ends_are_told(visit: Callable) -> None:
    waits = {"acts": False, "target": None, "notices": ["waits: another acts"]}
    told = Told(pool_of(2), autoscaler=AUTOSCALER | waits)
    here = open_dashboard(visit, told)
    here.page.locator("#autoscaler").wait_for()
    state = here.text("#autoscaler-state")
    assert state.startswith("It waits, between 1 and 4 workers. 2 serve now, – are wanted.")
    assert state.endswith("It says: waits: another acts.")
    told.autoscaler_status = 503
    here.wait_until("document.getElementById('autoscaler-state').textContent.startsWith('It does not answer')")
    assert here.page.locator("#decisions tr").count() == 2


def test_a_second_that_is_pointed_at_is_told(visit: Callable) -> None:
    here = open_dashboard(visit, Told(pool_of(2)))
    plot = here.page.locator(".chart-plot").first
    plot.hover(position={"x": 1, "y": 20})
    assert here.page.locator(".chart-when").first.inner_text()
    here.page.mouse.move(0, 0)
    here.wait_until("document.querySelector('.chart-when').textContent === ''")


def test_its_pure_parts(visit: Callable) -> None:
    here = open_dashboard(visit)
    shown = here.page.evaluate("""async () => {
      const { axisEnd, formatDuration, formatPart, formatRate, formatWholeMs } = await import("./numbers.js");
      const { join } = await import("./live.js");
      const { pathOf } = await import("./chart.js");
      const of = (...seconds) => seconds.map((second) => ({ second, answered: second }));
      const told = (time, first, ...answered) => ({ time, seconds: { first, answered } });
      const rows = [{ second: 1, v: 0 }, { second: 2, v: 4 }, { second: 3, v: null }, { second: 5, v: 2 }];
      return [
        [0, 2, 2.5, 7, 20, 21, 99, 1001].map((most) => axisEnd(most)),
        [0, 0.05, 0.3, 1.5].map((most) => axisEnd(most, 0.1)),
        [null, 9.4, 999, 1240].map(formatWholeMs),
        [0, 12.34, 99.96].map(formatRate),
        [0, 0.016, 0.5, 1].map(formatPart),
        [5, 300, 7300].map(formatDuration),
        join([], told(3, 2, 2, 3)).length,
        join(of(1, 2), told(4, 2, 2, 3, 4)).map(({ answered }) => answered),
        join(of(1, 2), told(302, 302, 302)).map(({ second }) => second),
        join(of(7, 8), told(3, 2, 2, 3)).map(({ second }) => second),
        join(of(7, 8), told(8, 9)).map(({ second }) => second),
        pathOf(rows, ({ v }) => v, 5, 4, false),
        pathOf(rows, ({ v }) => v, 5, 4, true),
      ];
    }""")
    assert shown == [
        [2, 2, 4, 8, 20, 40, 100, 2000],
        [0.1, 0.1, 0.4, 2],
        ["–", "9 ms", "999 ms", "1.24 s"],
        ["0.0", "12.3", "100"],
        ["0%", "1.6%", "50%", "100%"],
        ["5 s", "5 min", "2 h"],
        2,
        [1, 2, 3, 4],
        [302],
        [2, 3],
        [7, 8],
        "M295 100h0L296 0M299 50h0",
        "M295 100h0H296V0M299 50h0",
    ]
