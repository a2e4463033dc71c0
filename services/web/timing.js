/** The parts of one answer's time, in the order in which a request meets them. */
const PARTS = [
  ["upload", "Upload", "the way to the balancer and back"],
  ["balancer", "Balancer", "nginx, and its way to the worker"],
  ["queue", "Queue", "waiting for a free worker process"],
  ["decode", "Decode", "from file to pixels"],
  ["inference", "Inference", "the network itself"],
  ["other", "Other", "the rest inside the worker"],
];

/**
 * Durations of a Server-Timing header, or of several joined by ", " as browsers hand them over.
 * A name without a duration is left out; of a name given twice the last counts.
 *
 * @param {string | null} header
 * @returns {Record<string, number>} milliseconds by name
 */
export function parseServerTiming(header) {
  const durations = {};
  for (const metric of (header ?? "").match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []) {
    const name = metric.split(";", 1)[0].trim();
    const found = /;\s*dur\s*=\s*"?([0-9]+(?:\.[0-9]+)?)"?/i.exec(metric);
    if (name && found) durations[name] = Number(found[1]);
  }
  return durations;
}

/**
 * Split the time which the browser saw. What the balancer measured (upstream) is taken off the browser's total to give
 * the upload; what the worker measured (queue, total) is taken off upstream to give the balancer. The clocks of three
 * programs round differently, so no part is let below zero. Asked without a balancer, that part is absent.
 *
 * @param {number} browserMs from sending to the last byte, browser's clock
 * @param {Record<string, number>} server durations in ms: upstream (balancer); queue, decode, inference, total (worker)
 * @returns {{key: string, name: string, text: string, ms: number}[]}
 */
export function splitTime(browserMs, server) {
  const { queue = 0, decode = 0, inference = 0, total = decode + inference, upstream } = server;
  const ms = {
    upload: browserMs - (upstream ?? queue + total),
    balancer: upstream === undefined ? undefined : upstream - queue - total,
    queue,
    decode,
    inference,
    other: total - decode - inference,
  };
  return PARTS.filter(([key]) => ms[key] !== undefined)
    .map(([key, name, text]) => ({ key, name, text, ms: Math.max(0, ms[key]) }));
}

/** A duration for people: "0.4 ms", "4.1 ms", "38 ms", "1.24 s". */
export function formatMs(ms) {
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms`;
}

/** The middle of some numbers; NaN of none. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1] + sorted[Math.floor(half)]) / 2;
}
