"""What a person reads when there is no answer, and what the page does about it.

Refusals come from the deployment itself. A healthy deployment is neither busy nor gone on demand: there single answers
are replaced on their way to the browser, in the form of the HTTP contract, and all others are the deployment's own.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

REFUSALS = {
    "pixels": (413, "too large", "million pixels"),
    "text": (415, "cannot be read as a picture", "JPEG, PNG, WebP or GIF"),
    "bits": (415, "cannot be read as a picture", "The JPEG image has 12 bits a colour, 8 are supported"),
    "costly": (413, "too large", "MB of memory to decode, at most 140 MB are spent on an image; make it smaller"),
    "truncated": (422, "broken", "cannot be decoded"),
    "empty": (400, "No picture arrived", "empty"),
}

# What a browser logs of a file that it cannot send.
UNREADABLE = "ERR_ACCESS_DENIED|ERR_UPLOAD_FILE_CHANGED|ERR_FILE_NOT_FOUND"


def logged(status: int) -> str:
    return f"status of {status}"


def busy(route, retry_after_s: int = 1, slug: str = "busy") -> None:
    problem = {"type": f"/problems/{slug}", "title": "Busy", "status": 429, "detail": "Every worker is busy."}
    route.fulfill(
        status=429,
        json=problem,
        headers={"Content-Type": "application/problem+json", "Retry-After": str(retry_after_s)},
    )


# Keeps what is seen of each second that is counted down: the test may look later.
KEEP_THE_COUNTDOWN = """() => {
  window.counted = [];
  const [text, title, retry] = ["countdown", "error-title", "retry"].map((id) => document.getElementById(id));
  const look = () => [text.checkVisibility() && text.textContent, title.textContent, retry.checkVisibility()];
  new MutationObserver(() => window.counted.push(look())).observe(text, { childList: true });
}"""


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_file_is_explained(visit: Callable, bad_files: dict[str, Path], case: str) -> None:
    status, title, text = REFUSALS[case]
    here = visit(expected_console=logged(status)).open()
    here.choose(bad_files[case])
    here.page.locator("#error").wait_for()
    assert title in here.text("#error-title")
    assert text in here.text("#error-text")
    assert here.text("#error-technical").startswith(f"HTTP {status} ")
    assert here.page.locator("#retry").is_hidden()
    assert here.page.locator("#key-form").is_hidden()
    assert here.text("#error-title") in here.text("#announcement")
    assert here.page.locator("#shots li").count() == 0


def test_a_file_over_the_limit_is_not_sent(visit: Callable, bad_files: dict[str, Path]) -> None:
    here = visit().open()
    here.choose(bad_files["bytes"])
    here.page.locator("#error").wait_for()
    assert "too large" in here.text("#error-title")
    text = here.text("#error-text").replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("This file has 20.1 MB. The limit is 20 MB and 50 million pixels. ")
    assert "not sent" in here.text("#error-technical")
    assert here.predictions_sent() == 0


def test_the_limit_of_whoever_refused_is_named(visit: Callable, photographs: dict[str, Path], tmp_path: Path) -> None:
    """The balancer may allow less than the worker, which tells the page its limit."""
    problem = {"type": "/problems/too-large", "title": "Payload too large", "status": 413}
    problem["detail"] = "An image may have at most 1048576 bytes; send a smaller one."
    large = tmp_path / "large.jpg"
    large.write_bytes(photographs["coffee"].read_bytes().ljust(2 * 1024 * 1024, b"\0"))
    here = visit(expected_console=logged(413)).open()
    here.page.route("**/predict", lambda route: route.fulfill(status=413, json=problem))
    here.choose(large)
    here.page.locator("#error").wait_for()
    text = here.text("#error-text").replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("This file has 2 MB. The limit is 1 MB and 50 million pixels. ")


def test_a_good_picture_follows_a_refused_one(
    visit: Callable, bad_files: dict[str, Path], photographs: dict[str, Path]
) -> None:
    here = visit(expected_console=logged(415)).open()
    here.choose(bad_files["text"])
    here.page.locator("#preview-missing").wait_for()
    assert here.text("#preview-missing") == "text.jpg\n23\N{NO-BREAK SPACE}bytes"
    here.recognise(photographs["coffee"])
    assert here.page.locator("#error").is_hidden()
    assert here.page.locator("#preview").is_visible()


def test_busy_counts_down_and_asks_once_more(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console=logged(429)).open()
    here.page.route("**/predict", lambda route: busy(route, retry_after_s=2), times=1)
    here.page.evaluate(KEEP_THE_COUNTDOWN)
    here.choose(photographs["chelsea"])
    here.wait_for_answer()
    counted = here.page.evaluate("counted")
    assert [text for text, _, _ in counted] == ["Trying once more in 2 s", "Trying once more in 1 s", False]
    assert all("busy" in title and not retry for _, title, retry in counted)
    assert here.predictions_sent() == 2
    assert here.page.locator("#error").is_hidden()


def test_the_limit_of_an_address_is_not_taken_for_busy_workers(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console=logged(429)).open()
    here.page.route("**/predict", lambda route: busy(route, slug="too-many-requests"), times=1)
    here.page.evaluate(KEEP_THE_COUNTDOWN)
    here.choose(photographs["chelsea"])
    here.wait_for_answer()
    text, title, _ = here.page.evaluate("counted")[0]
    assert text == "Trying once more in 1 s"
    assert "from your address" in title


def test_still_busy_asks_the_person(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console=logged(429)).open()
    here.page.route("**/predict", busy, times=2)
    here.choose(photographs["chelsea"])
    here.page.locator("#retry").wait_for()
    assert here.predictions_sent() == 2
    here.page.wait_for_timeout(1500)
    assert here.predictions_sent() == 2, "there is one automatic retry, not more"
    here.page.click("#retry")
    here.wait_for_answer()
    assert here.predictions_sent() == 3


def test_a_new_picture_ends_the_countdown(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console=logged(429)).open()
    here.page.route("**/predict", lambda route: busy(route, retry_after_s=60), times=1)
    here.page.evaluate(KEEP_THE_COUNTDOWN)
    here.choose(photographs["chelsea"])
    here.page.locator("#countdown").wait_for()
    here.recognise(photographs["rocket"])
    counted = here.page.evaluate("counted")
    here.page.wait_for_timeout(2500)
    assert here.page.evaluate("counted") == counted
    assert here.predictions_sent() == 2
    assert here.page.locator("#shots li").count() == 1


def refuse(route) -> None:
    route.abort("connectionrefused")


@pytest.mark.parametrize("status", [502, 503, 504, 0], ids=["bad-gateway", "unavailable", "gateway-timeout", "network"])
def test_a_service_that_is_gone_can_be_asked_again(visit: Callable, photographs: dict[str, Path], status: int) -> None:
    here = visit(expected_console=logged(status) if status else "ERR_CONNECTION_REFUSED").open()
    answer = (lambda route: route.fulfill(status=status, body="<html>no</html>")) if status else refuse
    here.page.route("**/predict", answer, times=1)
    here.choose(photographs["coffee"])
    here.page.locator("#retry").wait_for()
    assert "cannot be reached" in here.text("#error-title")
    assert here.predictions_sent() == 1
    here.page.click("#retry")
    here.wait_for_answer()
    assert here.page.locator("#error").is_hidden()
    assert here.page.evaluate("document.activeElement.id") == "answer", "the focus must not be lost with the button"


def test_a_folder_is_told_from_a_service_that_is_gone(visit: Callable, tmp_path: Path) -> None:
    here = visit(expected_console=UNREADABLE).open()
    here.drop(tmp_path)
    here.page.locator("#error").wait_for()
    assert here.text("#error-title") == "That file cannot be read"
    assert "folder" in here.text("#error-text")
    assert here.page.locator("#retry").is_hidden()


def test_a_file_that_was_changed_meanwhile_is_not_sent_again(
    visit: Callable, photographs: dict[str, Path], tmp_path: Path
) -> None:
    here = visit(expected_console=f"{logged(503)}|{UNREADABLE}").open()
    here.page.route("**/predict", lambda route: route.fulfill(status=503), times=1)
    photograph = tmp_path / "mine.jpg"
    photograph.write_bytes(photographs["coffee"].read_bytes())
    os.utime(photograph, (1, 1))
    here.choose(photograph)
    here.page.locator("#retry").wait_for()
    photograph.write_bytes(photographs["rocket"].read_bytes())
    here.page.click("#retry")
    here.page.locator("#error-title", has_text="That file cannot be read").wait_for()
    assert "changed" in here.text("#error-text")


def give_up_after(here, seconds: int) -> None:
    """Let the page's own code have another limit on its way to the browser; nobody waits for a minute."""

    def shorten(route) -> None:
        answer = route.fetch()
        text = answer.text().replace("TIMEOUT_MS = 60_000;", f"TIMEOUT_MS = {seconds * 1000};")
        assert text != answer.text()
        route.fulfill(response=answer, body=text)

    here.page.route("**/api.js", shorten)


def test_a_photograph_that_goes_slowly_is_waited_for(visit: Callable, tmp_path: Path) -> None:
    """As long as it moves, however long the whole takes."""
    here = visit()
    give_up_after(here, 5)
    here.open()
    photograph = tmp_path / "noise.png"
    Image.effect_noise((420, 420), 100).save(photograph)
    throughput = photograph.stat().st_size / 8  # so that it takes 8 s
    devtools = here.context.new_cdp_session(here.page)
    devtools.send("Network.enable")
    devtools.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": throughput},
    )
    here.choose(photograph)
    here.page.locator("#result:visible, #error:visible").wait_for()
    assert here.page.locator("#result").is_visible()
    assert here.predictions_sent() == 1


def test_a_service_that_never_answers_is_said(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit()
    give_up_after(here, 1)
    here.open()
    held = []
    here.page.route("**/predict", lambda route: held.append(route))  # noqa: PLW0108 (Playwright marks handlers)
    here.choose(photographs["coffee"])
    here.page.locator("#retry").wait_for()
    assert here.text("#error-title") == "No answer came in time"
    assert here.text("#error-text").startswith("For 1 seconds nothing was sent or answered.")


def test_the_chart_counts_what_was_turned_away(visit: Callable, photographs: dict[str, Path]) -> None:
    here = visit(expected_console=logged(429)).open()
    here.recognise(photographs["coffee"])
    here.page.route("**/predict", busy, times=3)
    here.page.click("#send20")
    here.page.get_by_text("17 of 20 answered").wait_for()
    assert here.page.locator("#chart-rows [data-failed] .row-count").inner_text() == "3"
    assert here.page.locator("#sequence [data-state=failed]").count() == 3


def test_the_newest_picture_wins(visit: Callable, photographs: dict[str, Path]) -> None:
    """A slow answer to an earlier picture must not land on a later one."""
    here = visit().open()
    held = []
    here.page.route("**/predict", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks handlers)
    here.choose(photographs["chelsea"])
    here.page.locator("#waiting").wait_for()
    here.recognise(photographs["rocket"])
    best = here.text("#best")
    assert len(held) == 1
    assert here.page.locator("#shots li").count() == 1
    assert here.text("#shots .shot-label").lower() == best.lower()


def test_a_service_that_needs_a_key_takes_one(visit: Callable, photographs: dict[str, Path]) -> None:
    given = []

    def keyed(route) -> None:
        given.append(route.request.headers.get("x-api-key", ""))
        detail = "This key is not known here; ask the operator." if given[-1] else "This service needs a key; send it."
        if given[-1] == "right":
            route.continue_()
        else:
            problem = {"type": "/problems/unauthorized", "title": "Unauthorized", "status": 401, "detail": detail}
            route.fulfill(status=401, json=problem, headers={"Content-Type": "application/problem+json"})

    here = visit(expected_console=logged(401)).open()
    here.page.route("**/predict", keyed)
    here.choose(photographs["chelsea"])
    here.page.locator("#key-form").wait_for()
    assert here.text("#error-title") == "This service needs a key"
    here.page.get_by_label("Key").fill("wrong")
    here.page.get_by_role("button", name="Use this key").click()
    here.page.locator("#error-text", has_text="not known here").wait_for()
    here.page.get_by_label("Key").fill("\N{ZERO WIDTH SPACE}right\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}")
    here.page.get_by_label("Key").press("Enter")
    here.wait_for_answer()
    assert given == ["", "wrong", "right"]
    here.recognise(photographs["coffee"])
    assert given[-1] == "right"
