import { showAutoscaler, showNoAutoscaler } from "./autoscaler.js";
import { createChart } from "./chart.js";
import { byId, fromTemplate, setText } from "./dom.js";
import { askAutoscaler, askFigures, askHistory, join, lastSecond, nextPeriod, requestsOf, rowsOf } from "./live.js";
import { formatCount, formatDuration, formatRate, formatTime, formatWholeMs } from "./numbers.js";
import { changesInWords, showTiles } from "./tiles.js";
import { createChoice, LIVE } from "./windows.js";

const SHORTEST_MS = 250;
const AUTOSCALER_MS = 5000;
/** Where there is no autoscaler it is asked for so seldom. */
const NO_AUTOSCALER_MS = 60_000;
const HISTORY_MS = 15_000;
/** Where the live window is chosen, it is only asked whether there is a history. */
const HISTORY_THERE_MS = 60_000;
/** The table has every tenth row. */
const TABLE_STEP = 10;
/** Means over minutes may be far below one a second. */
const LEAST_MEAN_HZ = 0.1;

const charts = [
  createChart(byId("charts"), {
    title: "Requests a second",
    leastKept: LEAST_MEAN_HZ,
    format: formatCount,
    lines: [{ name: "requests", kind: "requests", of: requestsOf }],
  }),
  createChart(byId("charts"), {
    title: "RTT",
    kept: "Time at the workers",
    format: formatWholeMs,
    lines: [
      { name: "p50", kind: "p50", of: (row) => row.p50_ms },
      { name: "p99", kind: "p99", of: (row) => row.p99_ms },
    ],
  }),
  createChart(byId("charts"), {
    title: "Workers in the pool",
    format: formatCount,
    steps: true,
    lines: [
      { name: "serve", kind: "serving", of: (row) => row.serving },
      { name: "all", kind: "members", of: (row) => row.members },
    ],
  }),
  createChart(byId("charts"), {
    title: "Refusals and errors a second",
    leastKept: LEAST_MEAN_HZ,
    format: formatCount,
    lines: [
      { name: "refused", kind: "refused", of: (row) => row.refused },
      { name: "errors", kind: "errors", of: (row) => row.errors },
      { name: "lost", kind: "lost", of: (row) => row.lost },
    ],
  }),
];

let rows = [];
let kept = null; // the hours that are shown: {words, stepS, rows}; null for the live rows
let workers = null; // as they were told last
let time = null; // of the last figures, by the balancer's clock
let troubleSince = null; // by this browser's clock
let periodMs = nextPeriod();
let timer = 0;
let asking = false;
let autoscalerAtMs = 0;
let historyAtMs = 0;
const choice = createChoice(choose);

showCharts();
byId("table").addEventListener("toggle", showTable);
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) tick();
});
tick();

/** Ask, show, and ask again a second later; of a tab that nobody sees the balancer hears nothing. */
async function tick() {
  if (asking) return;
  asking = true;
  const beganMs = performance.now();
  try {
    const known = lastSecond(rows);
    const { figures, trouble } = await askFigures(Number.isFinite(known) ? known : null);
    periodMs = nextPeriod(periodMs, trouble);
    if (trouble) {
      showTrouble(trouble);
    } else {
      show(figures);
      if (beganMs >= autoscalerAtMs) await refreshAutoscaler(beganMs);
      if (beganMs >= historyAtMs) await refreshHistory(beganMs);
    }
  } finally {
    asking = false;
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(tick, Math.max(SHORTEST_MS, periodMs - (performance.now() - beganMs)));
  }
}

async function refreshAutoscaler(nowMs) {
  const told = await askAutoscaler();
  if (told === undefined) showNoAutoscaler();
  else showAutoscaler(told);
  autoscalerAtMs = nowMs + (told?.on === false ? NO_AUTOSCALER_MS : AUTOSCALER_MS);
}

async function refreshHistory(nowMs) {
  const { hours, words } = choice.chosen();
  const told = await askHistory(hours || 1);
  if (hours !== choice.chosen().hours) return; // another was chosen meanwhile
  historyAtMs = nowMs + (hours ? HISTORY_MS : HISTORY_THERE_MS);
  byId("charts-missing").hidden = told !== undefined || !hours;
  byId("charts-missing-words").textContent = words;
  if (told === undefined) return; // what was told last stays
  choice.offer(told.on);
  if (told.on && hours) showWindow({ words, stepS: told.points.step_s, rows: rowsOf(told.points) });
  else if (kept) showWindow(null);
}

/** Another window was chosen; the one before is shown until its figures are there. */
function choose({ hours }) {
  if (!hours) return showWindow(null);
  historyAtMs = 0;
  clearTimeout(timer);
  tick();
}

function showWindow(next) {
  const before = inView().words;
  byId("charts-missing").hidden = true;
  kept = next;
  showCharts();
  if (inView().words === before) return;
  showTable();
  announce([`The charts and the table show the last ${inView().words}.`]);
}

function inView() {
  return kept ?? { words: LIVE.words, stepS: 1, rows };
}

function showCharts() {
  const { words, stepS, rows: shown } = inView();
  for (const chart of charts) chart.draw(shown, words, stepS);
  byId("charts-heading").textContent = `The last ${words}`;
  byId("charts-note").hidden = kept === null;
  byId("charts-note-mean").textContent = formatDuration(Math.max(60, stepS));
}

function show(figures) {
  rows = join(rows, figures);
  time = figures.time;
  troubleSince = null;
  showNow(figures);
  if (kept === null) showCharts();
  showTiles(figures.workers, figures.time);
  const changes = changesInWords(workers, figures.workers);
  workers = figures.workers;
  announce([...changes, say(...poolTrouble())]);
  byId("main").dataset.state = "live";
  byId("as-of").textContent = `Live, ${formatTime(time)}`;
}

/** What is wrong with the pool: kind, title, text; all empty where nothing is. */
function poolTrouble() {
  if (!workers.length) return ["empty", "The pool has no worker.", "Put one into the inventory and deploy."];
  if (workers.some(({ state }) => state === "up" || state === "unknown")) return ["", "", ""];
  return ["nobody", "No worker serves.", "The tiles say why."];
}

function showNow({ requests, window_s: windowS, workers: told }) {
  const set = (name, text) => setText(byId("now"), `now-${name}`, text);
  set("rate", formatRate(requests.rate_hz));
  set("p50", formatWholeMs(requests.p50_ms));
  set("p99", formatWholeMs(requests.p99_ms));
  set("mean", requests.mean_ms === null ? "" : `mean ${formatWholeMs(requests.mean_ms)}`);
  set("serving", `${told.filter(({ state }) => state === "up").length} of ${told.length}`);
  for (const outcome of ["answered", "refused", "errors", "lost"]) {
    set(outcome, String(requests[outcome]));
    byId("now").querySelector(`[data-outcome="${outcome}"]`).toggleAttribute("data-some", requests[outcome] > 0);
  }
  byId("window").textContent = `of the last ${windowS} seconds`;
}

/** The last figures stay, greyed. */
function showTrouble(trouble) {
  troubleSince ??= Date.now() / 1000;
  const since = formatTime(troubleSince);
  const last = time === null ? "" : ` What you see is of ${formatTime(time)}.`;
  const [title, text] = {
    unreachable: [`The balancer has not answered since ${since}.`, "This page goes on asking."],
    agent: [`The balancer’s agent has not answered since ${since}.`, "nginx goes on with its last list."],
    busy: ["Too many pages ask for the figures.", "This one asks less often."],
  }[trouble];
  announce([say(trouble, title, text + last)]);
  if (trouble !== "busy") byId("main").dataset.state = time === null ? "waiting" : "stale";
  byId("as-of").textContent = time === null ? "No figures yet" : `Last figures ${formatTime(time)}`;
}

/** Say what is wrong, or that nothing is; returns it where it is another matter than before, and nothing otherwise. */
function say(kind, title, text) {
  const banner = byId("banner");
  if (banner.dataset.kind === kind) return "";
  banner.dataset.kind = kind;
  banner.hidden = kind === "";
  byId("banner-title").textContent = title;
  byId("banner-text").textContent = text;
  return kind === "" ? "All is well again." : `${title} ${text}`;
}

/** For screen readers, which read what is written; so nothing is where nothing is new. */
function announce(sentences) {
  const news = sentences.filter(Boolean).join(" ");
  if (news) byId("announcement").textContent = news;
}

/** Made when it is opened, and left as it is then: what is being read does not move. */
function showTable() {
  if (!byId("table").open) return;
  const { stepS, rows: all } = inView();
  const shown = all.filter(({ second }) => Math.floor(second / stepS) % TABLE_STEP === 0).reverse();
  byId("table-caption").textContent =
    `One row in ${formatDuration(TABLE_STEP * stepS)}, the newest first. Close and open it to see newer ones.`;
  byId("table-rows").replaceChildren(...shown.map((row) => {
    const element = fromTemplate("second-template");
    setText(element, "second-time", formatTime(row.second));
    setText(element, "second-serving", `${formatCount(row.serving)} of ${formatCount(row.members)}`);
    setText(element, "second-requests", formatCount(requestsOf(row)));
    setText(element, "second-p50", formatWholeMs(row.p50_ms));
    setText(element, "second-p99", formatWholeMs(row.p99_ms));
    for (const outcome of ["refused", "errors", "lost"]) setText(element, `second-${outcome}`, formatCount(row[outcome]));
    return element;
  }));
}
