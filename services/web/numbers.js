/** How the dashboard writes numbers. */

const DASH = "–";

/** Whole milliseconds for people: "38 ms", "1.24 s"; a dash for none. */
export function formatWholeMs(ms) {
  if (ms === null || ms === undefined) return DASH;
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms)} ms`;
}

/** So many a second: "0.4", "12.3", "140". */
export function formatRate(hz) {
  return hz.toFixed(hz < 99.95 ? 1 : 0);
}

/** A share of all: "50%", "1.6%", "0%". */
export function formatPart(share) {
  const percent = share * 100;
  return `${percent.toFixed(percent > 0 && percent < 9.95 ? 1 : 0)}%`;
}

/** A count, or a mean of some with three digits; a dash where nobody knows it. */
export function formatCount(count) {
  if (count === null || count === undefined) return DASH;
  return String(Number.isInteger(count) ? count : Number(count.toPrecision(3)));
}

/** The time of day of a second since 1970, by this browser's clock and zone: "14:03:12". */
export function formatTime(second) {
  return new Date(second * 1000).toLocaleTimeString("en-GB");
}

/** How long ago or for how long: "8 s", "3 min", "2 h". */
export function formatDuration(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/**
 * The end of an axis for values up to `most`, `least` at the least: 1, 2, 4, 6, 8 or 10 times a power of ten, so that its half
 * reads well too.
 */
export function axisEnd(most, least = 2) {
  if (!(most > least)) return least;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((end) => end >= most);
}
