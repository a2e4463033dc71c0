import { byId, fromTemplate, setText } from "./dom.js";
import { formatCount, formatWholeMs } from "./numbers.js";

const SHOWN = 10;

/**
 * Show what the autoscaler says of itself and its last decisions, the newest first.
 *
 * @param {{on: boolean, minimum: number, maximum: number, objective_s: number, active: number, target: number,
 *   decisions: {time: string | number, from: number, to: number, reason: string, metrics?: object}[]} | null} told
 *   null, or off without anything else, where there is no autoscaler
 */
export function showAutoscaler(told) {
  byId("autoscaler").hidden = isAbsent(told);
  if (isAbsent(told)) return;
  byId("autoscaler-state").textContent = stateInWords(told);
  const decisions = [...(told.decisions ?? [])].sort((a, b) => msOf(b.time) - msOf(a.time)).slice(0, SHOWN);
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

/** The balancer answers `{"on":false}` where no autoscaler is installed, an older one 404. */
export const isAbsent = (told) => told === null || (!told.on && told.decisions === undefined);

/** What it does, in words. One that does not act waits: another balancer's does. */
export function stateInWords({ on, acts, minimum, maximum, objective_s, active, target, notices }) {
  if (!on) return "It is off: the pool stays as it is.";
  const objective = Number.isFinite(objective_s) ? ` Its objective is ${formatWholeMs(objective_s * 1000)}.` : "";
  const part = acts === false ? "It waits" : "It is on";
  const numbers = `${formatCount(active)} serve now, ${formatCount(target)} are wanted`;
  const said = notices?.length ? ` It says: ${notices.join("; ")}.` : "";
  return `${part}, between ${minimum} and ${maximum} workers. ${numbers}.${objective}${said}`;
}

function rowOf({ time, from, to, reason, metrics }) {
  const row = fromTemplate("decision-template");
  const at = new Date(msOf(time));
  row.querySelector("time").dateTime = at.toISOString();
  row.querySelector("time").textContent = at.toLocaleTimeString("en-GB");
  setText(row, "decision-change", from === to ? `stays ${to}` : `${from} → ${to}`);
  setText(row, "decision-reason", reason);
  setText(row, "decision-metrics", metricsInWords(metrics ?? {}));
  return row;
}

/** @returns {string} "rate hz 41.2, busy 0.93" */
function metricsInWords(metrics) {
  return Object.entries(metrics)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? Number(value.toPrecision(3)) : value}`)
    .join(", ");
}

/** Milliseconds since 1970 of a time that is a text or a number of seconds; 0 of neither. */
function msOf(time) {
  const ms = typeof time === "number" ? time * 1000 : Date.parse(time);
  return Number.isFinite(ms) ? ms : 0;
}
