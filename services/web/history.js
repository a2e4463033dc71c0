import { formatShare, plainLabel } from "./answer.js";
import { byId, fromTemplate, setText } from "./dom.js";
import { paint } from "./workers.js";

/** Pictures are kept whole, so that they can be sent again: a bound for the tab's memory. */
const KEPT = 24;

/**
 * The answers of this tab, newest first. Nothing is written to disk.
 *
 * @param {(entry: {file: File, url: string, answer: object}) => void} onChoose
 */
export function createHistory(onChoose) {
  const entries = [];

  /** @returns {object[]} what fell off the end: its object URLs may be given back */
  function add(entry) {
    entries.unshift(entry);
    const dropped = entries.splice(KEPT);
    const list = byId("shots");
    list.prepend(shot(entry));
    while (list.children.length > KEPT) list.lastElementChild.remove();
    byId("history").hidden = false;
    mark(entry);
    return dropped;
  }

  function shot(entry) {
    const item = fromTemplate("shot-template");
    const [best] = entry.answer.predictions;
    const button = item.firstElementChild;
    button.firstElementChild.src = entry.url;
    setText(item, "shot-label", plainLabel(best.label));
    setText(item, "shot-text", `${formatShare(best.probability)} · ${entry.answer.worker}`);
    paint(button, entry.answer.worker);
    button.addEventListener("click", () => onChoose(entry));
    return item;
  }

  /** Mark the entry that is on show; none when it is not in the list. */
  function mark(entry) {
    const shown = entries.indexOf(entry);
    [...byId("shots").children].forEach((item, index) => {
      item.firstElementChild.toggleAttribute("aria-current", index === shown);
      if (index === shown) item.firstElementChild.setAttribute("aria-current", "true");
    });
  }

  return { add, mark, has: (entry) => entries.includes(entry) };
}
