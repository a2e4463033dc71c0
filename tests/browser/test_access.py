"""The page for everyone: by keyboard, by screen reader, on a small screen, in the dark, and without scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe

STATES = ["empty", "result", "chart", "error"]


def bring_to(here, state: str, photographs: dict[str, Path], bad_files: dict[str, Path]) -> None:
    if state == "empty":
        here.page.locator("#examples").wait_for()
        return
    here.recognise(photographs["chelsea"])
    if state == "chart":
        here.page.click("#send20")
        here.page.get_by_text("20 of 20 answered").wait_for()
    if state == "error":
        here.choose(bad_files["text"])
        here.page.locator("#error").wait_for()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    visit: Callable, photographs: dict[str, Path], bad_files: dict[str, Path], scheme: str, state: str
) -> None:
    here = visit(color_scheme=scheme, reduced_motion="reduce", expected_console="status of 415").open()
    bring_to(here, state, photographs, bad_files)
    found = Axe().run(here.page)
    assert found.response["passes"], "axe looked at nothing"
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("width", [320, 768, 1440], ids=["phone", "tablet", "desktop"])
def test_nothing_scrolls_sideways(
    visit: Callable, photographs: dict[str, Path], bad_files: dict[str, Path], width: int, state: str
) -> None:
    here = visit(width=width, expected_console="status of 415").open()
    bring_to(here, state, photographs, bad_files)
    assert here.page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = here.page.evaluate(
        """(width) => [...document.querySelectorAll("main *, header *, footer *")]
             .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > width + 0.5)
             .map((element) => element.outerHTML.slice(0, 80))""",
        width,
    )
    assert beyond == []


def test_the_page_is_usable_by_keyboard_only(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    page = here.page

    def tab_to(selector: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"Tab never reaches {selector}")

    page.on("filechooser", lambda _: None)  # from here on, choosers come to the test
    tab_to("#file")
    assert page.locator("#zone").evaluate("zone => getComputedStyle(zone).outlineStyle") == "solid"
    for name in ("coffee", "rocket"):
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(photographs[name])
        page.locator("#shots li").nth(["coffee", "rocket"].index(name)).wait_for()
        assert page.evaluate("document.activeElement.id") == "file", "an answer must not take the focus away"
    here.wait_for_answer()
    newest = here.text("#best")
    tab_to("#camera")
    tab_to("#send20")
    page.keyboard.press("Enter")
    page.get_by_text("20 of 20 answered").wait_for()
    assert page.evaluate("document.activeElement.id") == "send20"
    tab_to("#shots li:nth-child(2) button")
    page.keyboard.press("Enter")
    assert here.text("#best") != newest
    tab_to("#copy")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Copied").wait_for()


def test_an_example_is_chosen_by_keyboard(visit: Callable) -> None:
    here = visit().open()
    page = here.page
    page.locator("#examples").wait_for()
    page.locator("#camera").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    here.wait_for_answer()
    assert page.locator("#preview").get_attribute("alt") == "A cup of coffee with a spoon"


def test_every_control_has_a_name_and_is_large_enough(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(width=320).open()
    here.page.locator("#examples").wait_for()
    for example in here.page.locator(".example").all():
        box = example.bounding_box()
        assert min(box["width"], box["height"]) >= 44
        assert here.page.get_by_role("button", name=example.locator("img").get_attribute("alt")).count() == 1
    here.recognise(photographs["chelsea"])
    controls = here.page.locator("button:visible, .zone-label").all()
    assert len(controls) >= 5
    for control in controls:
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 44, control.inner_text()
        assert control.inner_text().strip()


def test_reduced_motion_stops_every_transition(visit: Callable, photographs: dict[str, Path]) -> None:
    moving = """[...document.querySelectorAll("*")].filter((element) => {
        const style = getComputedStyle(element);
        return parseFloat(style.transitionDuration) > 0 || parseFloat(style.animationDuration) > 0;
      }).length"""
    lively = visit().open()
    lively.recognise(photographs["chelsea"])
    assert lively.page.evaluate(moving) > 0
    calm = visit(reduced_motion="reduce").open()
    calm.recognise(photographs["chelsea"])
    assert calm.page.evaluate(moving) == 0


@pytest.mark.parametrize("width", [320, 1280], ids=["phone", "desktop"])
def test_the_form_works_without_scripts(visit: Callable, photographs: dict[str, Path], width: int) -> None:
    here = visit(java_script_enabled=False, width=width)
    page = here.page
    page.goto(f"{here.url}/")
    assert page.locator("#file").bounding_box()["width"] > 150, "the file input itself is to be seen"
    for useless in ("#copy", "#camera", "#send20", "#zone-hint", "#examples"):
        assert page.locator(useless).is_hidden()
    here.choose(photographs["chelsea"])
    page.get_by_role("button", name="Recognise").click()
    page.wait_for_url("**/submit")
    with photographs["chelsea"].open("rb") as file:
        expected = requests.post(f"{here.url}/predict", files={"image": file}, timeout=30).json()
    text = page.locator("main").inner_text()
    for each in expected["predictions"]:
        assert (each["label"].split(",")[0].lower() in text.lower()) == (each["probability"] > 0)
    assert any(name in text for name in requests.get(f"{here.url}/status", timeout=30).json()["workers"])
    assert page.locator("main").evaluate("main => getComputedStyle(main).borderRadius") != "0px", "style.css is missing"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_page_without_scripts(
    visit: Callable, photographs: dict[str, Path], scheme: str
) -> None:
    """Axe is a script itself, so the HTML answer is looked at by a tab that allows scripts."""
    here = visit(color_scheme=scheme)
    with photographs["chelsea"].open("rb") as file:
        answer = requests.post(f"{here.url}/submit", files={"image": file}, headers={"Accept": "text/html"}, timeout=30)
    assert answer.headers["Content-Type"].startswith("text/html")
    here.page.route("**/submit", lambda route: route.fulfill(status=200, content_type="text/html", body=answer.text))
    here.page.goto(f"{here.url}/submit")
    assert Axe().run(here.page).response["violations"] == []
