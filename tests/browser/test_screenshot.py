"""The picture of the page in the README; UPDATE_SCREENSHOT=1 writes it anew into services/web."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SCREENSHOT = Path(__file__).parents[2] / "services" / "web" / "screenshot.png"
MAX_BYTES = 600_000


@pytest.mark.slow
def test_the_screenshot_shows_an_answer(visit: Callable, photographs: dict[str, Path], tmp_path: Path) -> None:
    here = visit(width=1200, color_scheme="light", reduced_motion="reduce").open()
    for name in ("rocket", "coffee", "chelsea"):
        here.recognise(photographs[name])
    here.page.click("#send20")
    here.page.get_by_text("20 of 20 answered").wait_for()
    here.page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    here.page.mouse.move(0, 0)
    update = os.environ.get("UPDATE_SCREENSHOT") == "1"
    target = SCREENSHOT if update else tmp_path / "page.png"
    here.page.screenshot(path=target, full_page=True)

    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.width == 1200
        assert 1200 < image.height < 2400
        picture = image.convert("RGB")
    assert target.stat().st_size < MAX_BYTES
    # The photograph is where the page has it: the cat, not an empty frame.
    box = here.page.locator("#preview").bounding_box()
    left, top = round(box["x"]), round(box["y"])
    shown = picture.crop((left, top, left + round(box["width"]), top + round(box["height"])))
    assert len(shown.resize((64, 64)).getcolors(maxcolors=64 * 64)) > 500
