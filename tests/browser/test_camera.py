"""The live view: Chromium's test camera on the page of the deployment."""

from collections.abc import Callable

# Permission is the browser's to ask for, and people may take their time.
HOLD_THE_QUESTION = """() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  const allowed = new Promise((resolve) => { window.allow = resolve; });
  window.streams = [];
  devices.getUserMedia = async (wanted) => {
    await allowed;
    const stream = await ask(wanted);
    window.streams.push(stream);
    return stream;
  };
}"""


def test_the_camera_takes_a_picture(visit: Callable) -> None:
    here = visit(permissions=["camera"]).open()
    here.page.click("#camera")
    here.page.locator("#camera-take:enabled").click()
    here.wait_for_answer()
    assert here.text("#result-image").startswith("JPEG")
    assert not here.page.locator("#camera-dialog").is_visible()
    assert here.page.locator("#camera-video").evaluate("video => video.srcObject") is None


def test_a_refused_camera_is_explained(visit: Callable) -> None:
    here = visit(permissions=[]).open()
    here.page.click("#camera")
    here.page.locator("#camera-error").wait_for()
    assert "choose a file" in here.text("#camera-error")
    here.page.keyboard.press("Escape")
    assert not here.page.locator("#camera-dialog").is_visible()


def test_a_camera_that_was_asked_for_twice_is_off_in_the_end(visit: Callable) -> None:
    here = visit(permissions=["camera"]).open()
    here.page.evaluate(HOLD_THE_QUESTION)
    here.page.click("#camera")
    here.page.keyboard.press("Escape")
    here.page.click("#camera")
    here.page.evaluate("allow()")
    here.wait_until("streams.length === 2")
    here.page.locator("#camera-take:enabled").wait_for()
    here.page.click("#camera-cancel")
    here.page.locator("#camera-dialog").wait_for(state="hidden")
    here.wait_until("streams.every((stream) => stream.getTracks().every((track) => track.readyState === 'ended'))")
