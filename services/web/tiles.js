import { byId, fromTemplate, setText } from "./dom.js";
import { formatCount, formatDuration, formatPart, formatRate, formatWholeMs } from "./numbers.js";
import { paint } from "./workers.js";

/** Above so many workers each tile is a small one. */
const MANY = 12;
const STATES = ["up", "waking", "draining", "failing", "down", "unknown", "standby"];

/**
 * Show each worker as a tile; those that are there already are changed in place.
 *
 * @param {object[]} workers as the balancer tells them
 * @param {number} now the balancer's time, in seconds since 1970
 */
export function showTiles(workers, now) {
  const list = byId("tiles");
  list.toggleAttribute("data-many", workers.length > MANY);
  const names = workers.map(({ name }) => name).join("\n");
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...workers.map(tileOf));
  }
  workers.forEach((worker, index) => fill(list.children[index], worker, now));
  byId("states").textContent = statesInWords(workers);
}

function tileOf({ name }) {
  const tile = fromTemplate("tile-template");
  setText(tile, "tile-name", name);
  paint(tile.querySelector(".tile-name"), name);
  paint(tile, name);
  return tile;
}

function fill(tile, { state, rate_hz, busy, p99_ms, share, why, since }, now) {
  tile.dataset.state = state;
  setText(tile, "tile-state", state);
  const about = why ? `${why}, for ${formatDuration(now - Date.parse(since) / 1000)}` : "";
  setText(tile, "tile-why", about);
  tile.querySelector(".tile-why").hidden = !about;
  setText(tile, "tile-rate", `${formatRate(rate_hz)}/s`);
  setText(tile, "tile-busy", formatCount(busy));
  setText(tile, "tile-p99", formatWholeMs(p99_ms));
  setText(tile, "tile-share", formatPart(share));
  tile.querySelector(".tile-fill").style.setProperty("--share", share.toFixed(4));
}

/** How many workers are what: "2 up", "60 up, 1 draining, 1 down, 2 standby". */
export function statesInWords(workers) {
  const counts = STATES.map((state) => [state, workers.filter((each) => each.state === state).length]);
  return counts.filter(([, count]) => count).map(([state, count]) => `${count} ${state}`).join(", ");
}

/**
 * What changed from one answer to the next, in words; for who does not see the tiles.
 *
 * @param {object[] | null} before null for the first time
 * @param {object[]} workers
 * @returns {string[]} one sentence for each worker whose state is another one, that came, or that went
 */
export function changesInWords(before, workers) {
  if (before === null) return [];
  const states = new Map(before.map(({ name, state }) => [name, state]));
  const changed = workers
    .filter(({ name, state }) => states.get(name) !== state)
    .map(({ name, state, why }) => `${name} is ${state}${why ? `: ${why}` : ""}.`);
  const names = new Set(workers.map(({ name }) => name));
  return [...changed, ...[...states.keys()].filter((name) => !names.has(name)).map((name) => `${name} has left the pool.`)];
}
