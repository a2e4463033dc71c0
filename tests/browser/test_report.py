"""The report of a run as its reader opens it: from a file, by mouse, by keyboard, by screen reader, without scripts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page

from loadtest.analyse.summary import summarize
from loadtest.analyse.window import response_times
from loadtest.draw.report import write_report
from loadtest.experiments.folder import RunFolder

LEVELS = ("pool4-random", "pool4-least_conn")
CELLS = ("poisson-u0.5-128px", "poisson-u0.9-128px")
SPREAD = "How many requests took longer"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> RunFolder:
    """Two policies of the recorded run at two loads, with its figure and a report."""
    recorded, path = repository / "results" / "reference" / "policies", tmp_path_factory.mktemp("a report") / "run"
    names = ["run.json", "figures/ccdf.png", *(f"levels/{level}.json" for level in LEVELS)]
    names += [
        f"trials/{level}/{cell}.r{number}.jsonl.gz" for level in LEVELS for cell in CELLS for number in range(1, 6)
    ]
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recorded / name, path / name)
    folder = RunFolder.open(path)
    summarize(folder).write(path / "summary")
    write_report(folder, ["ccdf"])
    return folder


@pytest.fixture
def look(browser: Browser, run: RunFolder) -> Iterator[Callable[..., Page]]:
    """Open the report; afterwards it must have asked for nothing but itself, and logged nothing."""
    address = (run.path / "report.html").as_uri()
    errors: list[str] = []
    asked: list[str] = []
    contexts = []

    def start(*, expected_console: str = "nothing", width: int = 1280, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda line: errors.append(line.text) if expected_console not in line.text else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert errors == []
    assert {url for url in asked if not url.startswith("data:image/png")} == {address}


def plot(page: Page, title: str) -> Locator:
    """The figure of this title, in sight."""
    figure = page.locator("#plots figure").filter(has=page.get_by_role("heading", name=title))
    figure.scroll_into_view_if_needed()
    return figure


def told_at(figure: Locator, share: float) -> str:
    """Point at this share of a plot's width; gives what it says of the place."""
    over = figure.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": share * (box["width"] - 1), "y": box["height"] / 2})
    painted(figure)
    return figure.locator(".told").inner_text()


def painted(figure: Locator) -> None:
    """Wait until what was changed is painted."""
    figure.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drag(figure: Locator, begin: float, end: float) -> None:
    """Drag along the middle of a plot, from and to these shares of its width."""
    box = figure.locator(".u-over").bounding_box()
    assert box is not None
    mouse, y = figure.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + begin * box["width"], y)
    mouse.down()
    mouse.move(box["x"] + end * box["width"], y, steps=5)
    mouse.up()


def test_a_plot_says_what_the_samples_say(look: Callable[..., Page], run: RunFolder) -> None:
    figure, cell = plot(look(), SPREAD), next(one for one in run.design.cells if one.id == CELLS[1])
    figure.get_by_label("Show").select_option(f"{cell.id}, each level")
    for share in (0.5, 1):
        found = re.fullmatch(r"longer than ([\d.,]+) ms:", told_at(figure, share))
        assert found is not None
        at_s = float(found[1].replace(",", "")) / 1e3
        for level in LEVELS:
            row = next(one for one in run.read_summary("cells") if (one["level"], one["cell"]) == (level, cell.id))
            trials = [
                trial
                for own, number, trial in run.trials(run.design.level(level))
                if own == cell and number in row["valid_numbers"]
            ]
            times = np.concatenate([response_times(trial, cell) for trial in trials])
            text = figure.get_by_role("button", name=re.compile(rf"^{level} ")).inner_text()
            said = re.search(r"(?:([\d.]+) % \(([\d,]+)|none) of ([\d,]+)\)?$", text)
            assert said is not None, text
            count, whole = int((said[2] or "0").replace(",", "")), int(said[3].replace(",", ""))
            assert whole == len(times) == row["n"] - row["errors"]
            # the place is told with three digits
            assert (times > 1.006 * at_s).sum() <= count <= (times > 0.994 * at_s).sum()
            assert float(said[1] or 0) == pytest.approx(100 * count / whole, rel=0.01)
    assert "none of" in figure.inner_text()


def test_dragging_enlarges_and_two_ways_lead_back(look: Callable[..., Page]) -> None:
    figure = plot(look(), SPREAD)
    whole = told_at(figure, 0), told_at(figure, 1)
    for back in (
        lambda: figure.locator(".u-over").dblclick(),
        lambda: figure.get_by_role("button", name="the whole plot").press("Enter"),
    ):
        drag(figure, 0.3, 0.6)
        part = told_at(figure, 0), told_at(figure, 1)
        assert part[0] != whole[0]
        assert part[1] != whole[1]
        back()
        assert (told_at(figure, 0), told_at(figure, 1)) == whole


@pytest.mark.parametrize("title", [SPREAD, "Request by request", "Cells by the rate that was asked"])
def test_a_curve_goes_and_comes_by_keyboard(look: Callable[..., Page], title: str) -> None:
    figure = plot(look(), title)
    picture = "canvas => canvas.toDataURL()"
    button = figure.get_by_role("listitem").get_by_role("button").first
    seen = []
    for shown in ("true", "false", "true"):
        assert button.get_attribute("aria-pressed") == shown
        painted(figure)
        seen.append(figure.locator("canvas").evaluate(picture))
        button.press("Enter")
    assert seen[0] != seen[1]
    assert seen[0] == seen[2]


def test_everybody_can_read_it(look: Callable[..., Page]) -> None:
    page = look()
    for folded in page.locator("details summary").all():
        folded.click()
    found = Axe().run(page)
    assert found.response["passes"], "axe looked at nothing"
    assert found.response["violations"] == [], found.generate_report()
    page.set_viewport_size({"width": 320, "height": 900})
    painted(page.locator("#plots"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    widths = page.locator("#plots .u-wrap").evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert len(widths) == 3
    assert max(widths) <= 320


def test_without_scripts_there_are_pictures_and_tables(look: Callable[..., Page]) -> None:
    page = look(java_script_enabled=False)
    assert page.locator("#plots").is_hidden()
    assert page.locator("main > figure img").is_visible()
    assert page.locator("main > figure img").bounding_box()["width"] > 500
    assert page.get_by_role("row").filter(has_text="poisson-u").count() == len(LEVELS) * len(CELLS)


def test_the_page_can_neither_fetch_nor_evaluate(look: Callable[..., Page]) -> None:
    page = look(expected_console="Content Security Policy")
    tried = page.evaluate("""async () => {
      const refused = [];
      document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
      await fetch("data:,x").catch(() => null);
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      setTimeout("window.ran = true");
      await new Promise((done) => setTimeout(done, 100));
      return [window.ran ?? false, refused.sort()];
    }""")
    assert tried == [False, ["connect-src", "script-src", "script-src-elem"]]
