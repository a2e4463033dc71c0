import { Failure, predict } from "./api.js";
import { byId, fromTemplate, setText } from "./dom.js";
import { formatMs, median } from "./timing.js";
import { paint, workerChip } from "./workers.js";

const REQUESTS = 20;
/** As many as browsers keep open to one host, less one for everything else on the page. */
const AT_ONCE = 5;

/**
 * Send one picture twenty times and draw who answered, as the answers come in.
 *
 * @param {File} file
 * @param {{workers: string[], policy?: string}} pool workers to list even if none of their answers comes
 * @param {AbortSignal} signal ends it early, for another picture
 * @returns {Promise<void>} when every request has its answer or its failure
 */
export async function sendTwenty(file, pool, signal) {
  const outcomes = new Array(REQUESTS).fill(null);
  let next = 0;
  byId("chart").hidden = false;
  draw(outcomes, pool);
  const sender = async () => {
    while (next < REQUESTS && !signal.aborted) {
      const index = next++;
      outcomes[index] = await outcome(file, signal);
      if (!signal.aborted) draw(outcomes, pool);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
}

async function outcome(file, signal) {
  try {
    const { worker, browserMs } = await predict(file, { signal });
    return { who: worker, ms: browserMs, answered: true };
  } catch (error) {
    if (error.name === "AbortError") return null;
    if (!(error instanceof Failure)) throw error;
    return { who: error.status === 429 ? "turned away: busy" : "no answer", answered: false };
  }
}

function draw(outcomes, pool) {
  const done = outcomes.filter(Boolean);
  const answered = done.filter((each) => each.answered);
  const failures = [...new Set(done.filter((each) => !each.answered).map((each) => each.who))];
  const workers = [...new Set([...pool.workers, ...answered.map((each) => each.who)])].sort(byNumber);
  const rows = byId("chart-rows");
  const names = [...workers, ...failures];
  if (names.join("\n") !== rows.dataset.names) {
    rows.dataset.names = names.join("\n");
    rows.replaceChildren(...names.map((name) => row(name, workers.includes(name))));
  }
  names.forEach((name, index) => {
    const mine = done.filter((each) => each.who === name);
    const times = mine.filter((each) => each.answered).map((each) => each.ms);
    fillRow(rows.children[index], mine.length, times);
  });
  byId("sequence").replaceChildren(...outcomes.map(square));
  byId("balance-state").textContent = done.length < REQUESTS
    ? `${done.length} of ${REQUESTS}`
    : `${answered.length} of ${REQUESTS} answered`;
  byId("chart-note").textContent = note(workers.length, pool.policy);
}

function row(name, isWorker) {
  const element = fromTemplate("row-template");
  element.dataset.name = name;
  if (isWorker) {
    paint(element, name);
    element.querySelector(".row-name").append(workerChip(name));
  } else {
    element.dataset.failed = "";
    setText(element, "row-name", name);
  }
  return element;
}

function fillRow(element, count, times) {
  const share = count / REQUESTS;
  setText(element, "row-count", String(count));
  setText(element, "row-text", times.length ? `median ${formatMs(median(times))}` : "");
  const fill = element.querySelector(".row-fill");
  if (fill.dataset.share !== String(share)) {
    fill.dataset.share = String(share);
    fill.style.setProperty("--share", share.toFixed(4));
  }
}

function square(each) {
  const element = document.createElement("span");
  if (each?.answered) paint(element, each.who);
  element.dataset.state = each ? (each.answered ? "answered" : "failed") : "waiting";
  return element;
}

function note(count, policy) {
  const even = REQUESTS / count;
  const share = count > 1 ? `An even split among all ${count} would be ${Number.isInteger(even) ? even : `about ${even.toFixed(1)}`} each.` : "";
  return [policy ? `The balancer’s policy is ${policy.replaceAll("_", " ")}.` : "", share].filter(Boolean).join(" ");
}

/** worker2 before worker10. */
function byNumber(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}
