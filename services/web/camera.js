import { byId } from "./dom.js";

/**
 * The camera, in the way that this device has: on phones the system's own camera through a file input, which needs no
 * permission of the page; on others a live view, which browsers offer on https and on 127.0.0.1 only.
 *
 * @param {(file: File) => void} onPicture
 */
export function offerCamera(onPicture) {
  const button = byId("camera");
  if (matchMedia("(pointer: coarse)").matches) {
    const capture = byId("capture");
    button.addEventListener("click", () => capture.click());
    capture.addEventListener("change", () => {
      if (capture.files[0]) onPicture(capture.files[0]);
      capture.value = "";
    });
  } else if (navigator.mediaDevices?.getUserMedia) {
    button.addEventListener("click", openLiveView);
    wireLiveView(onPicture);
  } else {
    return;
  }
  button.hidden = false;
}

async function openLiveView() {
  const dialog = byId("camera-dialog");
  const video = byId("camera-video");
  const take = byId("camera-take");
  const trouble = byId("camera-error");
  trouble.hidden = true;
  take.disabled = true;
  dialog.showModal();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    if (!dialog.open || video.srcObject) { // or it was opened again meanwhile, and that has one
      stop(stream);
      return;
    }
    video.srcObject = stream;
    await video.play();
    take.disabled = false;
    take.focus();
  } catch (error) {
    trouble.textContent = error.name === "NotAllowedError"
      ? "The camera is not allowed for this page. Allow it in the browser’s settings, or choose a file."
      : "No camera was found, or another program has it. You can still choose a file.";
    trouble.hidden = false;
  }
}

function wireLiveView(onPicture) {
  const dialog = byId("camera-dialog");
  const video = byId("camera-video");
  dialog.addEventListener("close", () => {
    if (video.srcObject) stop(video.srcObject);
    video.srcObject = null;
  });
  byId("camera-cancel").addEventListener("click", () => dialog.close());
  byId("camera-take").addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    dialog.close();
    onPicture(new File([blob], "camera.jpg", { type: "image/jpeg" }));
  });
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
