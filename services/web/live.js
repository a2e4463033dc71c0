/** What the balancer tells: live figures, kept for as long as the charts show them, the history, the autoscaler. */

export const KEPT_S = 300;
const TIMEOUT_MS = 4000;
const PERIOD_MS = 1000;
const LONGEST_MS = 16_000;

/**
 * Ask for the figures.
 *
 * @param {number | null} since the last second that is known; null for all
 * @returns {Promise<{figures?: object, trouble?: "unreachable" | "agent" | "busy"}>}
 */
export async function askFigures(since) {
  try {
    const response = await ask(since === null ? "./live-figures" : `./live-figures?since=${since}`);
    if (response.ok) return { figures: await response.json() };
    return { trouble: response.status === 429 ? "busy" : "agent" };
  } catch {
    return { trouble: "unreachable" };
  }
}

/** What the autoscaler says, `on` false where there is none; undefined where it cannot be asked now. */
export const askAutoscaler = () => askOptional("./autoscaler");

/** What Prometheus has kept of some hours, `on` false where there is none; undefined where it cannot be asked now. */
export const askHistory = (hours) => askOptional(`./history?hours=${hours}`);

async function askOptional(url) {
  try {
    const response = await ask(url);
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

const ask = (url) =>
  fetch(url, { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });

/**
 * Join new seconds to those that are known.
 *
 * @param {object[]} rows oldest first: {second, serving, members, answered, refused, errors, lost, p50_ms, p99_ms}
 * @param {object} figures as the balancer answers them
 * @returns {object[]} the same, of the last five minutes; where the balancer's clock went back only what is new
 */
export function join(rows, figures) {
  const kept = lastSecond(rows) > figures.time ? [] : rows;
  const known = lastSecond(kept);
  return [...kept, ...rowsOf(figures.seconds).filter(({ second }) => second > known)]
    .filter(({ second }) => second > figures.time - KEPT_S);
}

/** Columns as the balancer tells them, as rows: {second, …}, oldest first. */
export function rowsOf({ first, step_s: stepS = 1, ...columns }) {
  return Object.values(columns)[0].map((_, index) => ({
    second: first + index * stepS,
    ...Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[index]])),
  }));
}

/** The newest second of some rows; minus infinity of none. */
export const lastSecond = (rows) => rows.at(-1)?.second ?? -Infinity;

/** All requests of a second; the history tells them itself. */
export const requestsOf = ({ requests, answered, refused, errors, lost }) =>
  requests === undefined ? answered + refused + errors + lost : requests;

/** How long after a question the next one comes, in ms: a second, and ever more where the balancer refuses. */
export const nextPeriod = (ms, trouble) => (trouble === "busy" ? Math.min(LONGEST_MS, ms * 2) : PERIOD_MS);
