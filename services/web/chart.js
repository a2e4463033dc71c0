import { fromTemplate, setText } from "./dom.js";
import { KEPT_S, lastSecond } from "./live.js";
import { axisEnd, formatTime } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = KEPT_S - 1;
const HEIGHT = 100;

/**
 * A chart of what was lately: one line for each value, with a point for each second, or for each so many.
 *
 * @param {HTMLElement} place what it is put into
 * @param {{title: string, kept?: string, leastKept?: number, steps?: boolean, format: (value: number | null) => string,
 *   lines: {name: string, kind: string, of: (row: object) => number | null}[]}} what
 *   kept: its title over hours, where that is another one; leastKept: where its axis ends at the least over hours; kind: how
 *   dashboard.css draws the line; steps: whether a value holds until the next
 * @returns {{draw: (rows: object[], words: string, stepS: number) => void}}
 *   words: how long the rows are, such as "5 minutes"; stepS: the seconds from one to the next
 */
export function createChart(place, { title, kept = title, leastKept, lines, format, steps = false }) {
  const chart = fromTemplate("chart-template");
  const svg = chart.querySelector("svg");
  const marker = svg.querySelector(".chart-marker");
  const paths = lines.map(({ kind }) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", `chart-line ${kind}`);
    svg.append(path);
    return path;
  });
  const values = lines.map(({ name, kind }) => legendOf(chart, name, kind));
  let shown = [];
  let stepS = 1;
  let pointed = null; // the share of the width that the pointer is at

  const tell = () => {
    const newest = lastSecond(shown);
    const second = pointed === null ? newest : newest - Math.round((1 - pointed) * WIDTH) * stepS;
    const row = shown.find((each) => each.second === second);
    values.forEach((value, index) => {
      value.textContent = row ? format(lines[index].of(row)) : "–";
    });
    setText(chart, "chart-when", pointed === null || !shown.length ? "" : formatTime(second));
    marker.setAttribute("x1", xOf(second, newest, stepS) || 0);
    marker.setAttribute("x2", xOf(second, newest, stepS) || 0);
    marker.toggleAttribute("data-on", pointed !== null);
  };
  const plot = chart.querySelector(".chart-plot");
  plot.addEventListener("pointermove", (event) => {
    const { left, width } = svg.getBoundingClientRect();
    pointed = Math.min(1, Math.max(0, (event.clientX - left) / width));
    tell();
  });
  plot.addEventListener("pointerleave", () => {
    pointed = null;
    tell();
  });
  place.append(chart);

  return {
    draw(rows, words, rowS) {
      shown = rows;
      stepS = rowS;
      const now = stepS === 1 ? title : kept;
      setText(chart, "chart-title", now);
      setText(chart, "chart-begin", `${words} ago`);
      const newest = lastSecond(rows);
      const all = lines.map(({ of }) => rows.map(of).filter((value) => value !== null));
      const end = axisEnd(Math.max(0, ...all.flat()), stepS === 1 ? undefined : leastKept);
      paths.forEach((path, index) => path.setAttribute("d", pathOf(rows, lines[index].of, newest, end, steps, stepS)));
      setText(chart, "chart-end", format(end));
      setText(chart, "chart-half", format(end / 2));
      svg.setAttribute("aria-label", inWords(`${now}, the last ${words}`, lines, all, rows.at(-1), format));
      tell();
    },
  };
}

function legendOf(chart, name, kind) {
  const entry = fromTemplate("legend-template");
  entry.querySelector(".chart-key").classList.add(kind);
  setText(entry, "chart-name", name);
  chart.querySelector(".chart-legend").append(entry);
  return entry.querySelector(".chart-value");
}

const xOf = (second, newest, stepS) => WIDTH - (newest - second) / stepS;

/** The path of one line; where a row or its value is missing, it has a gap. */
export function pathOf(rows, of, newest, end, steps, stepS = 1) {
  let path = "";
  let before = null;
  for (const row of rows) {
    const value = of(row);
    if (value === null) {
      before = null;
      continue;
    }
    const x = xOf(row.second, newest, stepS);
    const y = Math.round((1 - value / end) * HEIGHT * 10) / 10;
    if (before === null || row.second !== before + stepS) path += `M${x} ${y}h0`;
    else path += steps ? `H${x}V${y}` : `L${x} ${y}`;
    before = row.second;
  }
  return path;
}

/** What a chart shows, in two sentences. */
function inWords(what, lines, all, newest, format) {
  const parts = lines.map(({ name, of }, index) => {
    const values = all[index];
    if (!values.length) return `${name}: none`;
    return `${name}: now ${format(of(newest))}, from ${format(Math.min(...values))} to ${format(Math.max(...values))}`;
  });
  return `${what}. ${parts.join("; ")}.`;
}
