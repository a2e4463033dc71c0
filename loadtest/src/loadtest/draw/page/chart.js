// One plot of the report, drawn with uPlot: its axes, its curves, the buttons below it and its choice of what it shows.
"use strict";
const report = (() => {
  const HEIGHT = 380; // CSS pixels, as in plots.css
  const COLOURS = JSON.parse(document.getElementById("plot-data").textContent).colours;
  // A curve is known by its colour, and once all colours are used by its dashes as well.
  const LINES = [["solid", []], ["dashed", [8, 4]], ["dotted", [2, 3]], ["double", [10, 3, 2, 3]]];
  const colourOf = (index) => COLOURS[index % COLOURS.length];
  const lineOf = (index) => LINES[Math.floor(index / COLOURS.length) % LINES.length];

  function make(kind, attributes, ...children) {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // Ticks of a logarithmic axis: 1, 2, 5; powers of ten alone over many of them; even steps within less than one.
  function logarithmicTicks(low, high) {
    const tens = Math.log10(high / low);
    if (tens < 0.7) {
      const wanted = (high - low) / 5;
      const unit = 10 ** Math.floor(Math.log10(wanted));
      const step = unit * [1, 2, 5, 10].find((times) => times * unit >= wanted);
      return Array.from({ length: 12 }, (_, index) => (Math.ceil(low / step) + index) * step).filter((tick) => tick <= high);
    }
    const powers = Array.from({ length: Math.ceil(tens) + 2 }, (_, index) => Math.floor(Math.log10(low)) + index);
    const ticks = powers.flatMap((power) => (tens > 3 ? [1] : [1, 2, 5]).map((digit) => Number(`${digit}e${power}`)));
    return ticks.filter((tick) => low <= tick && tick <= high);
  }

  function axis(about, size) {
    const lines = { stroke: "#dddddd", width: 1 };
    return {
      label: about.label + (about.log ? " (logarithmic)" : ""), labelSize: 24, size, stroke: "#222222", grid: lines, ticks: lines,
      values: (_, ticks) => ticks.map((tick) => tick == null ? "" : String(Number(tick.toPrecision(4)))),
      ...(about.log && { splits: (_, __, low, high) => logarithmicTicks(low, high), filter: (_, ticks) => ticks }),
    };
  }

  // The limits of an axis around its values. `room` is what is left free beside them, as a share of their range.
  function limits(about, room) {
    return (_, low, high) => {
      if (low == null) return about.log ? [1, 10] : [0, 1];
      if (about.log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** room, high * (high / low) ** room];
      const free = low === high ? 1 : (high - low) * room;
      return [about.zero ? 0 : low - free, high + free];
    };
  }

  // The nearest point that a series has, for a series has none at most places of the common x.
  function nearest(chart, which, index, x) {
    const [at, values] = [chart.data[0], chart.data[which]];
    let [left, right] = [index, index];
    while (left >= 0 && values[left] == null) left -= 1;
    while (right < at.length && values[right] == null) right += 1;
    if (right >= at.length) return left < 0 ? null : left;
    return left < 0 || at[right] - x < x - at[left] ? right : left;
  }

  function within(chart, paint) {
    const { left, top, width, height } = chart.bbox;
    chart.ctx.save();
    chart.ctx.beginPath();
    chart.ctx.rect(left, top, width, height);
    chart.ctx.clip();
    paint(chart.ctx, chart.bbox);
    chart.ctx.restore();
  }

  function paintIntervals(chart, count) {
    within(chart, (ctx) => {
      const cap = 4 * devicePixelRatio;
      ctx.lineWidth = 1.2 * devicePixelRatio;
      for (let which = 1; which <= count; which += 1) {
        if (!chart.series[which].show) continue;
        ctx.strokeStyle = colourOf(which - 1);
        ctx.beginPath();
        chart.data[0].forEach((at, index) => {
          if (chart.data[which + count][index] == null) return;
          const x = chart.valToPos(at, "x", true);
          const ends = [which + count, which + 2 * count].map((end) => chart.valToPos(chart.data[end][index], "y", true));
          ctx.moveTo(x, ends[0]);
          ctx.lineTo(x, ends[1]);
          for (const y of ends) {
            ctx.moveTo(x - cap, y);
            ctx.lineTo(x + cap, y);
          }
        });
        ctx.stroke();
      }
    });
  }

  function paintWarmup(chart, until) {
    within(chart, (ctx, { left, top, height }) => {
      ctx.fillStyle = "#eeeeee";
      ctx.fillRect(left, top, Math.max(0, chart.valToPos(until, "x", true) - left), height);
    });
  }

  // plot: x and y ({label, log}); data (x, the series, then their lower and their upper ends where `intervals`); shared where
  // every series has its values at the same x; series ({label, line, dots}); read(which, index), what a series is there;
  // where(index), where that is; warmup_s.
  function draw(holder, place, plot) {
    const count = plot.series.length;
    place.hidden = !plot.where;
    const texts = plot.series.map(() => make("span", { class: "value" }));
    const ends = Array.from({ length: plot.intervals ? 2 * count : 0 }, () => ({ paths: () => null, points: { show: false } }));
    const chart = new uPlot({
      width: holder.clientWidth, height: HEIGHT, legend: { show: false }, axes: [axis(plot.x, 40), axis(plot.y, 56)],
      scales: {
        x: { time: false, distr: plot.x.log ? 3 : 1, range: limits(plot.x, plot.room ?? 0) },
        y: { distr: plot.y.log ? 3 : 1, range: limits(plot.y, 0.05) },
      },
      series: [{}, ...plot.series.map((one, index) => ({
        stroke: colourOf(index), width: 1.6, dash: lineOf(index)[1], spanGaps: true, ...(!one.line && { paths: () => null }),
        points: { show: Boolean(one.dots), size: one.line ? 7 : 4.5, width: 1, fill: colourOf(index) },
      })), ...ends],
      cursor: {
        drag: { x: true, y: true, uni: 30 },
        dataIdx: (own, which, index, x) => plot.shared ? index : which > count ? null : nearest(own, which, index, x),
      },
      hooks: {
        drawClear: plot.warmup_s ? [(own) => paintWarmup(own, plot.warmup_s)] : [],
        draw: plot.intervals ? [(own) => paintIntervals(own, count)] : [],
        setCursor: [(own) => {
          const at = own.cursor.left < 0 ? null : own.cursor.idx;
          place.textContent = at == null ? "" : plot.where?.(at) ?? "";
          texts.forEach((text, which) => {
            const index = at == null || !own.series[which + 1].show ? null : own.cursor.idxs[which + 1];
            text.textContent = index == null ? "" : plot.read(which, index);
          });
        }],
      },
    }, plot.data, holder);
    return [chart, plot.series.map((one, index) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.borderTop = `3px ${lineOf(index)[0]} ${colourOf(index)}`;
      const button = make("button", { type: "button", "aria-pressed": "true" }, swatch, make("span", {}, one.label), texts[index]);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", show);
        for (let which = index + 1; which < chart.series.length; which += count) chart.setSeries(which, { show });
      });
      return button;
    })];
  }

  // Add a plot to the page. `choices` are what it may show ({name, …}); plotOf(choice) is the plot of one.
  function panel(title, note, choices, plotOf) {
    const holder = make("div", { class: "plot", role: "img", "aria-label": `${title}: a plot. The table of cells has numbers.` });
    const place = make("p", { class: "told" });
    const buttons = make("ul", {});
    const select = make("select", {}, ...choices.map((choice, index) => make("option", { value: index }, choice.name)));
    let chart = null;
    const show = () => {
      chart?.destroy();
      const [drawn, made] = draw(holder, place, plotOf(choices[Number(select.value)]));
      chart = drawn;
      buttons.replaceChildren(...made.map((button) => make("li", {}, button)));
    };
    select.addEventListener("change", show);
    const chosen = choices.length > 1 ? [make("label", {}, "Show ", select), " "] : [];
    const all = make("button", { type: "button" }, "the whole plot");
    all.addEventListener("click", () => chart.setData(chart.data));
    document.getElementById("plots").append(
      make("figure", {}, make("h3", {}, title), ...chosen, all, holder, place, buttons, make("figcaption", {}, note)));
    show();
    new ResizeObserver(() => {
      if (holder.clientWidth !== chart.width) chart.setSize({ width: holder.clientWidth, height: HEIGHT });
    }).observe(holder);
  }

  return { panel };
})();
