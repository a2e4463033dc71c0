import { byId, fromTemplate, setText } from "./dom.js";
import { formatCount, formatWholeMs } from "./numbers.js";

const SHOWN = 10;

/**
 * Show what the autoscaler says of itself and its last decisions, the newest first.
 *
 * @param {{on: boolean, acts: boolean, minimum: number, maximum: number, objective_s: number, active: number,
 *   target: number | null, notices: string[],
 *   decisions: {time: string, from: number, to: number, reason: string, metrics: object}[]}} told
 *   `on` is false, and nothing else is told, where there is no autoscaler
 */
export function showAutoscaler(told) {
  byId("autoscaler").hidden = !told.on;
  if (!told.on) return;
  byId("autoscaler-state").textContent = stateInWords(told);
  const decisions = told.decisions.slice(-SHOWN).reverse();
  const rows = byId("decisions");
  const drawn = JSON.stringify(decisions);
  if (rows.dataset.drawn !== drawn) {
    rows.dataset.drawn = drawn;
    rows.replaceChildren(...decisions.map(rowOf));
  }
  byId("decisions-table").hidden = decisions.length === 0;
  byId("decisions-none").hidden = decisions.length > 0;
}

/** It cannot be asked now; what it said last stays. */
export function showNoAutoscaler() {
  byId("autoscaler-state").textContent = "It does not answer now. What stands here is older.";
}

/** What it does, in words. One that does not act waits: another balancer's does. */
function stateInWords({ acts, minimum, maximum, objective_s, active, target, notices }) {
  const part = acts ? "It is on" : "It waits";
  const numbers = `${formatCount(active)} serve now, ${formatCount(target)} are wanted`;
  const objective = `Its objective is ${formatWholeMs(objective_s * 1000)}.`;
  const said = notices.length ? ` It says: ${notices.join("; ")}.` : "";
  return `${part}, between ${minimum} and ${maximum} workers. ${numbers}. ${objective}${said}`;
}

function rowOf({ time, from, to, reason, metrics }) {
  const row = fromTemplate("decision-template");
  const at = new Date(time);
  row.querySelector("time").dateTime = at.toISOString();
  row.querySelector("time").textContent = at.toLocaleTimeString("en-GB");
  setText(row, "decision-change", `${from} → ${to}`);
  setText(row, "decision-reason", reason);
  setText(row, "decision-metrics", metricsInWords(metrics));
  return row;
}

/** @returns {string} "rate hz 41.2, busy 0.93" */
function metricsInWords(metrics) {
  return Object.entries(metrics)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${Number(value.toPrecision(3))}`)
    .join(", ");
}
