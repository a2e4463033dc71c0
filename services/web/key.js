import { byId } from "./dom.js";

let key = ""; // in this tab only, and gone with it

/** The header that says who asks; empty until somebody has given a key. */
export const keyHeader = () => (key ? { "X-API-Key": key } : {});

/** @param {() => void} again asks once more, with the key that was given */
export function takeKey(again) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    // Keys are ASCII. What is copied may have characters that nobody sees, which no header can hold.
    key = byId("key").value.replace(/[^\x20-\x7e]/g, "").trim();
    byId("answer").focus({ preventScroll: true });
    again();
  });
}
