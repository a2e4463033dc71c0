import { boundOf, isFrom, plainLabel, showAnswer, showVerdict } from "./answer.js";
import { Failure, getStatus, getVersion, predict } from "./api.js";
import { sendTwenty } from "./balance.js";
import { byId, showOnly } from "./dom.js";
import { offerExamples } from "./examples.js";
import { explain, formatBytes, formatLimit, technical } from "./explain.js";
import { createHistory } from "./history.js";
import { takeKey } from "./key.js";
import { listen } from "./sources.js";
import { workerChip } from "./workers.js";

/** Answers faster than this come without a "waiting" panel, which would only flicker. */
const PATIENCE_MS = 250;

const panels = ["empty", "result", "error", "waiting"].map(byId);
const [, resultPanel, errorPanel, waitingPanel] = panels;
const history = createHistory(reshow);

let version = null; // the service's /version
let pool = null; // the balancer's /status
let photo = null; // {file, url, shows?, answer?, unsureBelow?} on show
let attempt = null; // AbortController of what is under way

takeKey(() => classify(photo));
listen({ onPicture: take, onNothing: announceNothing });
byId("retry").addEventListener("click", () => {
  byId("answer").focus({ preventScroll: true });
  classify(photo);
});
byId("send20").addEventListener("click", twenty);
byId("copy").addEventListener("click", copySnippet);
byId("curl").textContent = `curl -F image=@photo.jpg ${new URL("./predict", location.href)}`;
byId("preview").addEventListener("error", () => showPreview(false));
byId("preview").addEventListener("load", frame);
refreshService().then(() => offerExamples({ version, onPicture: takeExample, onNothing: announceNothing }));

async function refreshService() {
  const [newVersion, newPool] = await Promise.all([getVersion(), getStatus()]);
  version = newVersion ?? version;
  pool = newPool ?? pool;
  if (version) {
    const { model, limits, service } = version;
    const few = model.labels?.length > 0;
    const count = model.classes && !few ? ` · knows\u00a0${model.classes}\u00a0classes` : "";
    byId("model").textContent = `${model.title || `${model.name} ${model.version}`}${count}`;
    byId("model").hidden = false;
    byId("knows-labels").textContent = (model.labels ?? []).map(plainLabel).join(", ");
    byId("knows").hidden = !few;
    byId("notice").textContent = model.notice;
    byId("notice").hidden = !model.notice;
    byId("limit").textContent = ` up to ${formatLimit(limits.max_bytes)}`;
    byId("service").textContent = `${service} ${version.version} · model ${model.name} ${model.version}`;
  }
  if (pool) {
    byId("policy").textContent = pool.policy ? ` (policy: ${pool.policy.replaceAll("_", " ")})` : "";
    byId("pool").replaceChildren(...(pool.workers ?? []).map(workerChip));
  }
}

/** A new picture: it replaces what is on show and what is under way. */
function take(file, shows) {
  if (photo && !history.has(photo)) URL.revokeObjectURL(photo.url);
  classify({ file, url: URL.createObjectURL(file), shows });
}

/** The examples vanish with the first picture, so the focus must not stay on one. */
function takeExample(file, shows) {
  byId("answer").focus({ preventScroll: true });
  take(file, shows);
}

async function classify(entry) {
  attempt?.abort();
  const mine = (attempt = new AbortController());
  photo = entry;
  history.mark(null);
  showPhoto(entry);
  const limit = version?.limits.max_bytes;
  if (limit && entry.file.size > limit) {
    fail(new Failure(413, { type: "too-large", detail: "not sent" }));
    return;
  }
  try {
    const answer = await askTwice(entry.file, mine.signal);
    entry.answer = answer;
    for (const dropped of history.add(entry)) URL.revokeObjectURL(dropped.url);
    present(entry);
    if (!isFrom(answer, version)) refreshService().then(() => judgeAgain(entry));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Failure)) throw error;
    fail(error);
  }
}

/** Ask, and when the workers are busy once more after the time they name. */
async function askTwice(file, signal) {
  try {
    return await ask(file, signal);
  } catch (error) {
    if (error.status !== 429) throw error;
    fail(error, { again: true });
    await countDown(error.retryAfterS, signal);
    return await ask(file, signal);
  }
}

async function ask(file, signal) {
  const onProgress = (share) => {
    byId("progress-bar").style.setProperty("--share", share.toFixed(3));
    byId("waiting-text").textContent = share < 1 ? `Sending: ${Math.floor(share * 100)}%` : "A worker is looking at it";
  };
  const timer = setTimeout(() => {
    byId("progress").hidden = false;
    byId("details").hidden = true;
    showOnly(waitingPanel, panels);
  }, PATIENCE_MS);
  onProgress(0);
  try {
    return await predict(file, { onProgress, signal });
  } finally {
    clearTimeout(timer);
    byId("progress").hidden = true;
  }
}

function countDown(seconds, signal) {
  const text = byId("countdown");
  return new Promise((resolve, reject) => {
    let left = seconds;
    const show = () => {
      text.textContent = `Trying once more in ${left} s`;
    };
    const timer = setInterval(() => {
      left -= 1;
      show();
      if (left <= 0) finish(resolve);
    }, 1000);
    const stop = () => finish(() => reject(new DOMException("Replaced by a newer picture", "AbortError")));
    const finish = (then) => {
      clearInterval(timer);
      signal.removeEventListener("abort", stop);
      text.hidden = true;
      then();
    };
    signal.addEventListener("abort", stop);
    text.hidden = false;
    show();
  });
}

/** The model that gave the answer was not known yet. */
function judgeAgain(entry) {
  if (photo === entry) showVerdict(entry.answer, boundOf(entry, version));
}

function present(entry) {
  const sentence = showAnswer(entry.answer, boundOf(entry, version));
  showOnly(resultPanel, panels);
  byId("details").hidden = false;
  byId("chart").hidden = true;
  byId("balance-state").textContent = "";
  announce(sentence);
}

/** Show an earlier answer again, with its picture; nothing is sent. */
function reshow(entry) {
  attempt?.abort();
  attempt = new AbortController();
  if (photo && !history.has(photo)) URL.revokeObjectURL(photo.url);
  photo = entry;
  showPhoto(entry);
  history.mark(entry);
  present(entry);
}

function fail(failure, { again = false } = {}) {
  const { kind, kicker, title, text, retry } = explain(failure, version, photo.file);
  errorPanel.dataset.kind = kind;
  byId("error-kicker").textContent = kicker;
  byId("error-title").textContent = title;
  byId("error-text").textContent = text;
  byId("error-actions").hidden = !retry || again;
  byId("error-technical").textContent = technical(failure);
  showOnly(errorPanel, panels);
  byId("details").hidden = true;
  announce(`${title}. ${text}${again ? ` Trying once more in ${failure.retryAfterS} seconds.` : ""}`);
}

/** @param {string} title what went wrong, and what to do */
function announceNothing(title) {
  announce(title);
  byId("zone-title").textContent = title;
}

function showPhoto({ file, url, shows }) {
  byId("zone").dataset.state = "photo";
  byId("zone-title").textContent = "Choose another";
  byId("preview").src = url;
  byId("preview").alt = shows ?? (file.name ? `Your photograph, ${file.name}` : "Your photograph");
  byId("file-name").textContent = file.name;
  byId("file-size").textContent = formatBytes(file.size);
  showPreview(true);
}

/** Give the zone the picture's own proportions, within what a layout bears. */
function frame({ target }) {
  const ratio = Math.min(1.8, Math.max(1, target.naturalWidth / target.naturalHeight)) || 4 / 3;
  byId("zone").style.setProperty("--ratio", ratio.toFixed(3));
}

function showPreview(works) {
  if (!works) byId("zone").style.removeProperty("--ratio");
  byId("preview").hidden = !works;
  byId("preview-missing").hidden = works;
}

async function twenty() {
  const button = byId("send20");
  if (!photo || button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await sendTwenty(photo.file, { workers: pool?.workers ?? [], policy: pool?.policy }, attempt.signal);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Copy the curl command. The clipboard's own interface exists on https and 127.0.0.1 only, so there is a second way. */
async function copySnippet() {
  const snippet = byId("curl");
  let copied = true;
  if (navigator.clipboard) {
    copied = await navigator.clipboard.writeText(snippet.textContent).then(() => true, () => false);
  } else {
    getSelection().selectAllChildren(snippet);
    copied = document.execCommand("copy");
  }
  byId("copy").textContent = copied ? "Copied" : "Select and copy";
  byId("copied").textContent = copied ? "Copied" : "The browser did not allow copying.";
  setTimeout(() => {
    byId("copy").textContent = "Copy";
  }, 2000);
}

function announce(sentence) {
  byId("announcement").textContent = sentence;
}
