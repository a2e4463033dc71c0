// What the report's interactive plots show, from the JSON in #plot-data. Nothing is fetched, and the page is whole without.
"use strict";
(() => {
  const told = JSON.parse(document.getElementById("plot-data").textContent);
  const short = (value) => value >= 100 ? whole(Math.round(value)) : String(Number(value.toPrecision(3)));
  const whole = (count) => count.toLocaleString("en");

  // Put series that have an x of their own each onto one ascending x; `places` says where each point was in its series.
  function onOneAxis(series) {
    const points = series.flatMap(([x], which) => x.map((at, place) => ({ at, which, place })));
    points.sort((one, other) => one.at - other.at);
    const column = (which, values) => points.map((point) => point.which === which ? values[point.place] : null);
    return {
      x: points.map((point) => point.at),
      columns: (values) => series.map((_, which) => column(which, values[which])),
      places: points.map((point) => point.place),
    };
  }

  function cells({ title, axis, quantities, series }) {
    report.panel(`Cells ${title}`,
      "The mean over a cell's valid trials, or the quantile of all their requests. Bars: 95 % t-interval over trials, on a "
      + "logarithmic axis that of the logarithm.",
      quantities.map((one) => ({ ...one, name: one.label })), (quantity) => {
        const own = series.map((one) => [one.x, one.values[quantity.key]]);
        const { x, columns, places } = onOneAxis(own);
        const part = (end) => columns(own.map(([, values]) => values.map((value) => value && value[end])));
        return {
          x: axis, y: { label: quantity.label, log: quantity.key !== "answered_hz", zero: true }, room: 0.03, intervals: true,
          data: [x, ...part(0), ...part(1), ...part(2)],
          series: series.map((one) => ({ label: one.label, line: true, dots: true })),
          read: (which, index) => {
            const [value, low, high] = own[which][1][places[index]];
            const interval = low === null ? ", no interval" : ` (${short(low)} to ${short(high)})`;
            return `${short(value)}${interval}, ${series[which].cells[places[index]]}`;
          },
        };
      });
  }

  function spread({ ms, curves }) {
    const distinct = (key) => [...new Set(curves.map((curve) => curve[key]))];
    const group = (key, other) => distinct(key).map((value) => (
      { name: `${value}, each ${other}`, label: other, curves: curves.filter((curve) => curve[key] === value) }));
    const [levels, cells] = [distinct("level").length, distinct("cell").length];
    const choices = [...(levels > 1 ? group("cell", "level") : []), ...(cells > 1 || levels === 1 ? group("level", "cell") : [])];
    report.panel("How many requests took longer",
      "The answered requests of all valid trials of a cell, without the warm-up. The share that took longer than a time is "
      + `exact at ${ms.length} times and joined by lines.`,
      choices, (choice) => ({
        x: { label: "response time, ms", log: true }, y: { label: "requests that took longer, %", log: true },
        data: [ms, ...choice.curves.map((curve) => curve.longer.map((count) => count ? 100 * count / curve.n : null))],
        series: choice.curves.map((curve) => ({ label: curve[choice.label], line: true })), shared: true,
        where: (index) => `longer than ${short(ms[index])} ms:`,
        read: (which, index) => {
          const { n, longer } = choice.curves[which];
          return longer[index] ? `${short(100 * longer[index] / n)} % (${whole(longer[index])} of ${whole(n)})` : `none of ${whole(n)}`;
        },
      }));
  }

  function requests(groups) {
    report.panel("Request by request",
      `A point is a request, placed where it was due. Of a trial's answers, and of its failures, where they are more than `
      + `${told.most}: the fastest, the median and the slowest of each of ${told.most / 3} equal stretches of time. Grey: warm-up. `
      + "No time counts that was due in it, and a trial that ends by precision may leave out more.",
      groups.map((group) => ({ ...group, name: `${group.level}, ${group.cell}` })), (group) => {
        const answered = group.trials.filter((trial) => trial.n);
        const failures = group.trials.reduce((sum, trial) => sum + trial.failures, 0);
        const failed = [0, 1].map((part) => group.trials.flatMap((trial) => trial.failed[part]));
        const own = [...answered.map((trial) => trial.answered), ...(failures ? [failed] : [])];
        const ofAll = (name, drawn, all) => `${name}: ${drawn < all ? `${drawn} of ${whole(all)} drawn` : whole(all)}`;
        const labels = answered.map((trial) => ofAll(`trial ${trial.number}`, trial.answered[0].length, trial.n)
          + (trial.valid ? "" : ", not to be trusted"));
        const { x, columns, places } = onOneAxis(own);
        return {
          x: { label: "time since the trial's start, s" }, y: { label: "response time, ms", log: true },
          data: [x, ...columns(own.map((one) => one[1]))],
          series: [...labels, ...(failures ? [ofAll("failed", failed[0].length, failures)] : [])].map((label) => ({ label, dots: true })),
          read: (which, index) => `${short(own[which][1][places[index]])} ms at ${own[which][0][places[index]].toFixed(2)} s`,
          warmup_s: group.warmup_s,
        };
      });
  }

  document.getElementById("plots").hidden = false;
  told.cells.forEach(cells);
  if (told.spread.curves.length) spread(told.spread);
  if (told.requests.length) requests(told.requests);
})();
