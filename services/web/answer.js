import { byId, fromTemplate, setText } from "./dom.js";
import { formatMs, splitTime } from "./timing.js";
import { paint } from "./workers.js";

/** Below this probability the best guess is not called an answer, where a worker does not say what its model's is. */
const UNSURE_BELOW = 0.3;

/** The first of a label's synonyms, without the underscores that some class lists use. */
export function plainLabel(label) {
  return label.split(",", 1)[0].replaceAll("_", " ").trim();
}

/**
 * A probability for people: "72%", "8.2%", "under 0.1%". No network rules anything out or is certain: one that counts in
 * steps of 0.4% gives 0 to all that is less.
 */
export function formatShare(probability) {
  const percent = probability * 100;
  if (percent === 0) return "under 1%";
  if (percent < 0.1) return "under 0.1%";
  if (percent > 99) return "over 99%";
  return `${percent.toFixed(percent < 9.95 ? 1 : 0)}%`;
}

/** Whether the model of the service's /version is the one that gave an answer. */
export const isFrom = ({ model: { name, version: of } }, version) =>
  version?.model.name === name && version.model.version === of;

/** The bound of the model that gave an entry's answer, kept for when another model serves; undefined where it is not known. */
export function boundOf(entry, version) {
  if (isFrom(entry.answer, version)) entry.unsureBelow = version.model.unsure_below;
  return entry.unsureBelow;
}

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * Show an answer: verdict, bars, who, and where the time went. A guess that got no share of the probability is none: it
 * only stands first in the model's list of classes.
 *
 * @param {object} answer as `predict` of api.js gives it
 * @param {number} [unsureBelow] the model's own `unsure_below`
 * @returns {string} the same in one sentence, for a screen reader
 */
export function showAnswer(answer, unsureBelow) {
  const verdict = showVerdict(answer, unsureBelow);
  const guesses = answer.predictions.filter(({ probability }, index) => probability > 0 || index === 0);
  byId("bars").replaceChildren(...guesses.map(bar));

  byId("worker").textContent = answer.worker;
  paint(byId("worker"), answer.worker);
  byId("result-model").textContent = `${answer.model.name} ${answer.model.version}`;
  const { format, width, height } = answer.image;
  byId("result-image").textContent = `${format}, ${width} × ${height} pixels`;

  showTime(answer);
  return `${verdict} Answered by ${answer.worker} in ${formatMs(answer.browserMs)}.`;
}

/** Say what it is, and whether the model is sure; returns the same in one sentence. */
export function showVerdict({ predictions: [best] }, unsureBelow = UNSURE_BELOW) {
  const label = capitalised(plainLabel(best.label));
  const sure = best.probability >= unsureBelow;
  byId("verdict").textContent = sure ? "This is most likely" : "Not sure. The best guess is";
  byId("best").textContent = label;
  byId("sure").textContent = `${formatShare(best.probability)} sure`;
  byId("result").dataset.sure = sure ? "yes" : "no";
  return `${sure ? "" : "Not sure. Best guess: "}${label}, ${formatShare(best.probability)} sure.`;
}

function bar({ label, probability }) {
  const item = fromTemplate("bar-template");
  setText(item, "bar-label", plainLabel(label));
  setText(item, "bar-value", formatShare(probability));
  grow(item.querySelector(".bar-fill"), probability);
  return item;
}

/** Let a bar grow to its share (0 to 1) once it is on the page, so that the style's transition shows. */
export function grow(fill, share) {
  fill.style.setProperty("--share", "0");
  requestAnimationFrame(() => requestAnimationFrame(() => fill.style.setProperty("--share", share.toFixed(4))));
}

function showTime(answer) {
  const parts = splitTime(answer.browserMs, answer.server);
  byId("time-total").textContent = formatMs(answer.browserMs);
  byId("strip").replaceChildren(...parts.filter(({ ms }) => ms > 0).map(({ key, ms }) => {
    const segment = document.createElement("span");
    segment.dataset.part = key;
    segment.style.setProperty("flex-grow", ms.toFixed(3));
    return segment;
  }));
  byId("legend").replaceChildren(...parts.map(({ key, name, text, ms }) => {
    const part = fromTemplate("part-template");
    part.dataset.part = key;
    setText(part, "part-name", name);
    setText(part, "part-ms", formatMs(ms));
    setText(part, "part-text", text);
    return part;
  }));
}
