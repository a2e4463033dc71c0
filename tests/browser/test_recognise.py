"""Every way in which a picture comes to the page ends with the service's own answer on it."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from PIL import Image

CATS = {"tabby", "tiger cat", "Egyptian cat"}

# A file on the clipboard, as a browser has it after "Copy image".
COPY_PNG = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
}"""


def ask(url: str, photograph: Path) -> dict:
    with photograph.open("rb") as file:
        answer = requests.post(f"{url}/predict", files={"image": file}, timeout=30)
    answer.raise_for_status()
    return answer.json()


def plain(label: str) -> str:
    return label.split(",", maxsplit=1)[0].replace("_", " ")


def percent(text: str) -> float:
    return {"under 0.1%": 0.05, "over 99%": 99.5}.get(text) or float(text.rstrip("%"))


def assert_shows(visited, expected: dict) -> None:
    """The bars are those of a direct answer to the same bytes: labels, order and shares."""
    guesses = [each for each in expected["predictions"] if each["probability"] > 0]
    bars = visited.bars()
    assert [label for label, _ in bars] == [plain(each["label"]) for each in guesses]
    for (_, share), each in zip(bars, guesses, strict=True):
        assert percent(share) == pytest.approx(100 * each["probability"], abs=0.51)
    best = expected["predictions"][0]
    assert visited.text("#best").lower() == plain(best["label"]).lower()
    widths = visited.page.locator(".bar-fill").evaluate_all(
        "fills => fills.map(fill => Number(fill.style.getPropertyValue('--share')))"
    )
    assert widths == pytest.approx([each["probability"] for each in guesses], abs=1e-3)


def change_model(visited, **changes) -> None:
    """Let the deployment's own /version say something else of its model on its way to the page."""

    def change(route) -> None:
        answer = route.fetch()
        version = answer.json()
        version["model"].pop("unsure_below", None)
        version["model"] |= changes
        route.fulfill(response=answer, json=version)

    visited.page.route("**/version", change)


def wait_for_bars(visited) -> None:
    visited.wait_for_answer()
    visited.wait_until("document.querySelector('.bar-fill').style.getPropertyValue('--share') > 0")


def test_a_chosen_file_is_recognised(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.choose(photographs["chelsea"])
    wait_for_bars(here)
    expected = ask(here.url, photographs["chelsea"])
    assert_shows(here, expected)
    if requests.get(f"{here.url}/version", timeout=30).json()["model"]["classes"] == 1000:
        assert here.text("#best").lower() in {cat.lower() for cat in CATS}
    assert here.text("#worker") in requests.get(f"{here.url}/status", timeout=30).json()["workers"]
    assert here.text("#result-model") == "{name} {version}".format(**expected["model"])
    assert "451 \N{MULTIPLICATION SIGN} 300" in here.text("#result-image")
    assert here.page.locator("#preview").evaluate("image => image.naturalWidth") == 451


def test_a_dropped_file_is_recognised(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.drop(photographs["rocket"])
    wait_for_bars(here)
    assert_shows(here, ask(here.url, photographs["rocket"]))
    assert here.page.locator("#zone[data-over]").count() == 0


def test_a_drop_without_a_file_is_explained(visit: Callable) -> None:
    here = visit().open()
    transfer = here.page.evaluate_handle("new DataTransfer()")
    here.page.dispatch_event("#zone", "drop", {"dataTransfer": transfer})
    assert "no file" in here.text("#zone-title")
    assert here.predictions_sent() == 0


def test_a_pasted_picture_is_recognised(visit: Callable, photographs: dict[str, Path], tmp_path: Path) -> None:
    """Ctrl+V with a picture on the browser's clipboard, wherever the focus is."""
    here = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    png = tmp_path / "coffee.png"
    Image.open(photographs["coffee"]).save(png)
    here.page.evaluate(COPY_PNG, base64.b64encode(png.read_bytes()).decode())
    here.page.keyboard.press("Control+V")
    wait_for_bars(here)
    assert_shows(here, ask(here.url, png))
    assert here.text("#result-image").startswith("PNG")


def test_pasted_text_is_left_alone(visit: Callable) -> None:
    here = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    here.page.evaluate("navigator.clipboard.writeText('tabby')")
    here.page.keyboard.press("Control+V")
    here.page.wait_for_timeout(200)
    assert here.predictions_sent() == 0
    assert here.page.locator("#empty").is_visible()


def test_a_phone_opens_its_own_camera(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(width=390, has_touch=True, is_mobile=True).open()
    with here.page.expect_file_chooser() as chooser:
        here.page.tap("#camera")
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(photographs["coffee"])
    wait_for_bars(here)
    assert_shows(here, ask(here.url, photographs["coffee"]))


def test_the_answer_is_announced(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.recognise(photographs["chelsea"])
    spoken = here.page.locator("#announcement[role=status][aria-live=polite]").inner_text()
    assert here.text("#best") in spoken
    assert here.text("#worker") in spoken


def test_a_doubtful_answer_says_so(visit: Callable, tmp_path: Path) -> None:
    """A plain grey card shows nothing that a network could know, so its best guess is a poor one."""
    here = visit().open()
    card = tmp_path / "grey.png"
    Image.new("RGB", (400, 300), (128, 128, 128)).save(card)
    here.recognise(card)
    best = ask(here.url, card)["predictions"][0]["probability"]
    model = requests.get(f"{here.url}/version", timeout=30).json()["model"]
    unsure = best < model.get("unsure_below", 0.3)
    assert ("Not sure" in here.text("#verdict")) == unsure
    assert here.page.locator("#result").get_attribute("data-sure") == ("no" if unsure else "yes")


@pytest.mark.parametrize(
    ("changes", "unsure"),
    [({"unsure_below": 0}, False), ({"unsure_below": 0.2}, False), ({"unsure_below": 0.21}, True), ({}, True)],
    ids=["never", "not-below", "below", "not-said"],
)
def test_the_model_says_what_is_unsure(
    visit: Callable, photographs: dict[str, Path], changes: dict[str, float], unsure: bool
) -> None:
    here = visit()
    answer = ask(here.url, photographs["chelsea"])
    answer["predictions"][0]["probability"] = 0.2
    here.page.route("**/predict", lambda route: route.fulfill(json=answer))
    change_model(here, **changes)
    here.open().recognise(photographs["chelsea"])
    assert ("Not sure" in here.text("#verdict")) == unsure
    assert ("Not sure" in here.text("#announcement")) == unsure


def test_an_answer_before_the_model_is_known_is_judged_again(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console="ERR_FAILED")
    change_model(here, unsure_below=1)
    here.page.route("**/version", lambda route: route.abort(), times=1)
    with here.page.expect_event("requestfailed"):
        here.page.goto(here.url)
    here.recognise(photographs["chelsea"])
    here.page.locator("#verdict", has_text="Not sure").wait_for()
    assert here.page.locator("#result").get_attribute("data-sure") == "no"


def test_an_earlier_answer_is_judged_by_the_model_that_gave_it(visit: Callable, photographs: dict[str, Path]) -> None:
    """Another model, of another bound, was deployed between two answers."""
    here = visit()
    answer = ask(here.url, photographs["chelsea"])
    answer["predictions"][0]["probability"] = 0.7
    here.page.route("**/predict", lambda route: route.fulfill(json=answer))
    change_model(here, unsure_below=0.5)
    here.open().recognise(photographs["chelsea"])
    answer["model"] = {"name": "another", "version": "1"}
    change_model(here, **answer["model"], unsure_below=0.9)
    here.recognise(photographs["coffee"])
    here.page.locator("#verdict", has_text="Not sure").wait_for()
    shots = here.page.locator("#shots button")
    for position, sure in ((1, "yes"), (0, "no")):
        shots.nth(position).click()
        assert here.page.locator("#result").get_attribute("data-sure") == sure


def test_a_guess_without_a_share_is_no_guess(visit: Callable, photographs: dict[str, Path]) -> None:
    """The deployment's own answer, in which all but two guesses came to nothing, as int8 rounds them."""
    here = visit().open()
    answer = ask(here.url, photographs["chelsea"])
    for each in answer["predictions"][2:]:
        each["probability"] = 0.0
    here.page.route("**/predict", lambda route: route.fulfill(json=answer))
    here.recognise(photographs["chelsea"])
    assert [label for label, _ in here.bars()] == [plain(each["label"]) for each in answer["predictions"][:2]]


def test_the_time_strip_adds_up(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.recognise(photographs["chelsea"])
    names = here.page.locator("#legend .part-name").all_inner_texts()
    assert names == ["Upload", "Balancer", "Queue", "Decode", "Inference", "Other"]
    total = milliseconds(here.text("#time-total"))
    parts = [milliseconds(text) for text in here.page.locator("#legend .part-ms").all_inner_texts()]
    # The balancer counts whole milliseconds, so parts that it bounds may be off by two. Seconds have two digits.
    assert sum(parts) == pytest.approx(total, abs=3 if total < 1000 else 40)
    assert parts[3] > 0
    assert parts[4] > 0
    assert here.page.locator("#strip span").count() >= 3


def milliseconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"ms": 1, "s": 1000}[unit]


def test_earlier_answers_come_back_without_asking(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    answers = []
    for name in ("chelsea", "coffee", "rocket"):
        here.recognise(photographs[name])
        answers.append((here.text("#best"), here.text("#worker"), here.bars()))
    shots = here.page.locator("#shots button")
    assert shots.count() == 3
    sent = here.predictions_sent()
    for position, answer in enumerate(reversed(answers)):
        shots.nth(position).click()
        assert (here.text("#best"), here.text("#worker"), here.bars()) == answer
        assert shots.nth(position).get_attribute("aria-current") == "true"
        assert here.page.locator("#shots [aria-current]").count() == 1
    assert here.predictions_sent() == sent == 3


def test_twenty_requests_show_the_balancing(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.recognise(photographs["coffee"])
    here.page.click("#send20")
    here.page.get_by_text("20 of 20 answered").wait_for()
    names = here.page.locator("#chart-rows .row-name").all_inner_texts()
    counts = [int(text) for text in here.page.locator("#chart-rows .row-count").all_inner_texts()]
    assert names == requests.get(f"{here.url}/status", timeout=30).json()["workers"]
    assert len(names) == 2
    assert sum(counts) == 20
    assert all(count > 0 for count in counts)
    assert here.page.locator("#sequence [data-state=answered]").count() == 20
    assert here.predictions_sent() == 21
    colours = here.page.locator("#chart-rows .row-fill").evaluate_all(
        "fills => fills.map(fill => getComputedStyle(fill).backgroundColor)"
    )
    assert len(set(colours)) == 2


def test_the_snippet_works_and_is_copied(visit: Callable) -> None:
    here = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    assert here.text("#curl") == f"curl -F image=@photo.jpg {here.url}/predict"
    here.page.click("#copy")
    here.page.get_by_role("button", name="Copied").wait_for()
    assert here.page.evaluate("navigator.clipboard.readText()") == here.text("#curl")


def test_the_model_is_named(visit: Callable) -> None:
    here = visit().open()
    version = requests.get(f"{here.url}/version", timeout=30).json()
    knows = f" · knows {version['model']['classes']} classes"
    assert here.text("#model").replace("\N{NO-BREAK SPACE}", " ") == version["model"]["title"] + knows
    assert here.page.locator("#knows").is_hidden()
    badge = here.page.locator("#notice")
    if version["model"]["notice"]:
        assert badge.inner_text() == version["model"]["notice"]
    else:
        assert badge.is_hidden()


def test_a_bundles_notice_is_a_badge(visit: Callable) -> None:
    here = visit()
    notice = "random weights: every answer is arbitrary"
    change_model(here, notice=notice)
    here.open()
    assert here.text("#notice") == notice


def test_a_model_of_few_classes_says_what_it_knows(visit: Callable) -> None:
    here = visit()
    change_model(here, classes=3, labels=["mug, cup", "desk_lamp", "stapler"], title="My desk")
    here.open()
    assert here.text("#model") == "My desk"
    assert here.text("#knows") == "This model knows: mug, desk lamp, stapler."
    here.page.wait_for_load_state("networkidle")
    assert here.page.locator("#examples").is_hidden(), "what the examples show is none of its classes"


EXAMPLES = {"chelsea.png": CATS, "coffee.png": {"espresso"}, "rocket.jpg": {"missile"}, "camera.png": {"tripod"}}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_recognised_with_one_click(visit: Callable, tmp_path: Path, example: str) -> None:
    here = visit().open()
    listed = {each["file"]: each for each in requests.get(f"{here.url}/examples.json", timeout=30).json()}
    assert set(listed) == set(EXAMPLES), "the play that deployed the page says why it has no examples"
    shows = listed[example]["shows"]
    here.page.get_by_role("button", name=shows).click()
    wait_for_bars(here)
    (tmp_path / example).write_bytes(requests.get(f"{here.url}/{example}", timeout=30).content)
    expected = ask(here.url, tmp_path / example)
    assert_shows(here, expected)
    if requests.get(f"{here.url}/version", timeout=30).json()["model"]["classes"] == 1000:
        assert plain(expected["predictions"][0]["label"]) in EXAMPLES[example]
    assert here.page.locator("#preview").get_attribute("alt") == shows
    assert here.page.locator("#examples").is_hidden()
    assert here.page.evaluate("document.activeElement.id") == "answer", "the focus must not be lost with the example"
    assert here.predictions_sent() == 1


def test_the_examples_are_there_until_the_first_picture(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit().open()
    here.page.locator("#examples").wait_for()
    images = here.page.locator("#examples img")
    here.wait_until("[...document.querySelectorAll('#examples img')].every(each => each.naturalWidth > 0)")
    assert images.count() == len(EXAMPLES)
    assert all(image.get_attribute("alt") for image in images.all())
    assert here.text("#examples-credit") == (
        "Photographs: Stefan van der Walt, Rachel Michetti, Lav Varshney (CC0); SpaceX (public domain)"
    )
    here.recognise(photographs["coffee"])
    assert here.page.locator("#examples").is_hidden()


def test_a_page_without_examples_offers_none(visit: Callable) -> None:
    here = visit()
    here.page.route("**/examples.json", lambda route: route.fulfill(json=[]))
    here.open()
    here.page.wait_for_load_state("networkidle")
    assert here.page.locator("#examples").is_hidden()
    assert here.page.locator("#empty").is_visible()


def test_an_example_that_does_not_come_is_explained(visit: Callable) -> None:
    here = visit(expected_console="ERR_FAILED").open()
    here.page.wait_for_load_state("networkidle")
    here.page.route("**/coffee.png", lambda route: route.abort())
    here.page.get_by_role("button", name="A cup of coffee").click()
    here.page.locator("#zone-title", has_text="That example did not come").wait_for()
    assert here.text("#announcement") == here.text("#zone-title")
    assert here.page.locator("#examples").is_visible()
    assert here.predictions_sent() == 0
