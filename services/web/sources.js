import { offerCamera } from "./camera.js";
import { byId } from "./dom.js";

/**
 * All ways in which a picture comes to the page: chosen, dropped or pasted anywhere, taken by the camera.
 *
 * @param {{onPicture: (file: File) => void, onNothing: (title: string) => void}} to onNothing: something was dropped
 *   without a file; the title says so
 */
export function listen({ onPicture, onNothing }) {
  const input = byId("file");
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that choosing the same file again is a change too
    if (file) onPicture(file);
  });
  byId("form").addEventListener("submit", (event) => event.preventDefault());

  document.addEventListener("paste", (event) => {
    const file = pickFile(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    onPicture(file);
  });

  const zone = byId("zone");
  let depth = 0;
  const hover = (change) => {
    depth = Math.max(0, depth + change);
    zone.toggleAttribute("data-over", depth > 0);
  };
  document.addEventListener("dragenter", () => hover(+1));
  document.addEventListener("dragleave", () => hover(-1));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    hover(-depth);
    const file = pickFile(event.dataTransfer);
    if (file) onPicture(file);
    else onNothing("That was no file: save the picture first");
  });

  if (/^(mac|iphone|ipad)/i.test(navigator.platform)) byId("paste-key").textContent = "⌘";
  offerCamera(onPicture);
}

/** The first picture among the files, or else the first file: the server then says what is wrong with it. */
function pickFile(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}
