"""A real browser (Debian's Chromium, headless) that visits the page of a real deployment."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import skimage.data
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ANSWER_TIMEOUT_MS = 60_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; install it: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """One tab on the page, and what went wrong in it."""

    page: Page
    context: BrowserContext
    url: str
    expected_console: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        self.page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))

    def _console(self, kind: str, text: str) -> None:
        expected = self.expected_console and re.search(self.expected_console, text)
        if kind in {"error", "warning"} and not expected:
            self.errors.append(f"console {kind}: {text}")

    def open(self) -> "Visit":
        self.page.goto(f"{self.url}/")
        self.page.locator("#model").wait_for()
        return self

    def choose(self, photograph: Path) -> None:
        self.page.set_input_files("#file", photograph)

    def drop(self, path: Path) -> None:
        """The browser itself drops something of this machine; the page gets a trusted event."""
        box = self.page.locator("#zone").bounding_box()
        devtools = self.context.new_cdp_session(self.page)
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **point})
        self.page.locator("#zone[data-over]").wait_for()
        devtools.send("Input.dispatchDragEvent", {"type": "drop", "data": data, **point})

    def wait_for_answer(self) -> None:
        self.page.locator("#result").wait_for(timeout=ANSWER_TIMEOUT_MS)

    def wait_until(self, expression: str) -> None:
        """Wait until an expression is true in the page.

        Playwright's own wait_for_function evaluates a text again inside the page, which the page's CSP forbids: it
        works only where the expression is true at once.
        """
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline_s, f"it never was: {expression}"
            self.page.wait_for_timeout(50)

    def recognise(self, photograph: Path) -> None:
        with self.page.expect_response("**/predict", timeout=ANSWER_TIMEOUT_MS):
            self.choose(photograph)
        self.wait_for_answer()

    def predictions_sent(self) -> int:
        return sum(line.startswith("POST ") and line.endswith("/predict") for line in self.requests)

    def text(self, selector: str) -> str:
        located = self.page.locator(selector)
        assert located.is_visible(), f"{selector} is hidden"
        return located.inner_text()

    def bars(self) -> list[tuple[str, str]]:
        """Label and share of each bar, as they stand on the page."""
        rows = self.page.locator("#bars li").all()
        return [(row.locator(".bar-label").inner_text(), row.locator(".bar-value").inner_text()) for row in rows]


@pytest.fixture
def visit(browser: Browser, deployment: Any) -> Iterator[Callable[..., Visit]]:
    """Open the page; keyword arguments are those of a browser context.

    After the test each tab must have logged no error, broken no policy and asked no host but the deployment.
    `expected_console` is a pattern for messages that the test provokes: browsers log every answer from 400 on.
    """
    url = deployment.url.rstrip("/")
    visits: list[Visit] = []

    def start(*, width: int = 1280, expected_console: str = "", **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(ANSWER_TIMEOUT_MS)
        made = Visit(context.new_page(), context, url, expected_console)
        made.watch()
        visits.append(made)
        return made

    yield start
    for made in visits:
        made.context.close()
        assert made.errors == []
        foreign = [
            line for line in made.requests if not line.split(" ", 1)[1].startswith((f"{url}/", "blob:", "data:"))
        ]
        assert foreign == []


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real photographs, as JPEG files: a cat, a cup of coffee, a rocket."""
    folder = tmp_path_factory.mktemp("photographs")
    found = {}
    for name in ("chelsea", "coffee", "rocket"):
        found[name] = folder / f"{name}.jpg"
        Image.fromarray(getattr(skimage.data, name)()).save(found[name], quality=92)
    return found


@pytest.fixture(scope="session")
def bad_files(
    tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, Path], deployment: Any
) -> dict[str, Path]:
    """Files that the service refuses, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    limits = requests.get(f"{deployment.url.rstrip('/')}/version", timeout=30).json()["limits"]
    files = {
        name: folder / f"{name}.jpg" for name in ("bytes", "pixels", "costly", "bits", "text", "truncated", "empty")
    }
    whole = photographs["chelsea"].read_bytes()
    files["bytes"].write_bytes(whole + bytes(limits["max_bytes"] + 1 - len(whole)))
    side = int(np.sqrt(limits["max_pixels"])) + 1
    Image.new("1", (side, side)).save(files["pixels"], format="PNG")
    Image.new("RGB", (6500, 6500)).save(files["costly"], format="PNG")
    frame = whole.index(b"\xff\xc0")
    files["bits"].write_bytes(whole[: frame + 4] + bytes([12]) + whole[frame + 5 :])
    files["text"].write_text("This is not a picture.\n")
    files["truncated"].write_bytes(whole[: len(whole) // 2])
    files["empty"].touch()
    return files
