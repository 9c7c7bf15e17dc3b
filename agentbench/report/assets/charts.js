// Two pictures: values with intervals, and lines with bands. Both are drawn in a box of fixed units and scale with it.
const ticks = (low, high, wanted = 5) => {
  const raw = (high - low || 1) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) || 10);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
};
const tickText = (value, rate) => (rate ? digits(100 * value, 0) + "%" : String(Number(value.toPrecision(3))).replace("-", "\u2212"));
const colour = (place) => `var(--c${place % 8})`;

// rows: [{label, value, low, high, colour, said}], range: [least, most] or null; a band behind, and a line at a value
function dotPlot(title, rows, kind, range, { band = null, at = null } = {}) {
  const ends = [...rows.flatMap((row) => [row.value, row.low, row.high]), ...(band || [])].filter((value) => value !== null && value !== undefined);
  const [least, most] = range || [Math.min(0, ...ends), Math.max(0, ...ends)];
  const left = Math.min(250, 24 + 6.6 * Math.max(...rows.map((row) => row.label.length))), width = 640, height = 26 + 22 * rows.length;
  const right = 64 + 6.6 * Math.max(0, ...rows.map((row) => (row.said || "").length));
  const x = (value) => left + ((value - least) / (most - least || 1)) * (width - left - right);
  const short = (label) => (label.length > 36 ? label.slice(0, 35) + "\u2026" : label);
  return h("figure", { class: "card chart", style: "margin:0" }, h("h3", {}, title),
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
      band && s("rect", { class: "band", x: x(band[0]), width: x(band[1]) - x(band[0]), y: 4, height: height - 22 }),
      ticks(least, most).map((value) => [
        s("line", { class: "grid", x1: x(value), x2: x(value), y1: 4, y2: height - 18 }),
        s("text", { x: x(value), y: height - 4, "text-anchor": "middle" }, kind === "points" ? show(value, kind).replace(/\.0$/, "") : tickText(value, kind === "rate"))]),
      at !== null && s("line", { class: "at", x1: x(at), x2: x(at), y1: 4, y2: height - 18 }),
      rows.map((row, place) => {
        const y = 15 + 22 * place, ink = colour(row.colour || 0);
        const said = `${row.label}: ${show(row.value, kind)} [${show(row.low, kind)}, ${show(row.high, kind)}]${row.said ? `, ${row.said}` : ""}`;
        return s("g", {}, s("title", {}, said),
          s("rect", { x: 0, y: y - 11, width, height: 22, fill: "transparent" }),
          s("text", { class: "strong", x: left - 10, y: y + 4, "text-anchor": "end" }, short(row.label)),
          row.low !== null && row.low !== undefined && s("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y, stroke: ink, "stroke-width": 2 }),
          row.value !== null && s("circle", { cx: x(row.value), cy: y, r: 4.5, fill: ink }),
          s("text", { x: width - 4, y: y + 4, "text-anchor": "end" }, row.said && s("tspan", { class: "strong" }, `${row.said}  `), show(row.value, kind)));
      })));
}

// chart: {title, metric, x, lines: [{label, seeds, step, estimate, low, high}]}; x: what is along the axis where it is a share
function lineChart(chart) {
  const width = 560, height = 270, left = 46, bottom = 36, top = 10;
  const rate = /success|score|share/.test(chart.metric), kind = rate ? "rate" : "number";
  const ends = chart.lines.flatMap((line) => [...line.estimate, ...line.high.filter((value) => value !== null)]);
  const steps = chart.lines.flatMap((line) => line.step);
  const least = Math.min(0, ...ends), most = rate ? 1 : Math.max(...ends) || 1, first = Math.min(...steps), last = Math.max(...steps);
  const x = (value) => left + ((value - first) / (last - first || 1)) * (width - left - 14);
  const y = (value) => height - bottom - ((value - least) / (most - least || 1)) * (height - bottom - top);
  const path = (xs, ys) => xs.map((value, place) => `${place ? "L" : "M"}${x(value).toFixed(1)} ${y(ys[place]).toFixed(1)}`).join("");
  const draw = (line, place) => {
    const ink = colour(place), alone = line.seeds < 2;
    const back = [...line.step].reverse(), lows = [...line.low].reverse();
    return s("g", {},
      !alone && !(chart.x && chart.lines.length > 3) && s("path", { d: path(line.step, line.high) + path(back, lows).replace("M", "L") + "Z", fill: ink, opacity: 0.16 }),
      s("path", { d: path(line.step, line.estimate), fill: "none", stroke: ink, "stroke-width": alone ? 1.2 : 2.2, "stroke-dasharray": alone ? "4 3" : null }),
      !chart.x && line.step.map((step, at) => s("circle", { cx: x(step), cy: y(line.estimate[at]), r: line.step.length > 40 ? 1.5 : 2.6, fill: ink },
        s("title", {}, `${line.label}, step ${step}: ${show(line.estimate[at], kind)}` + (alone ? " (1 seed)" : ` [${show(line.low[at], kind)}, ${show(line.high[at], kind)}], ${line.seeds} seeds`)))));
  };
  return h("figure", { class: "card chart", style: "margin:0" }, h("h3", {}, chart.title),
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": chart.title },
      ticks(least, most, 4).map((value) => [s("line", { class: "grid", x1: left, x2: width - 14, y1: y(value), y2: y(value) }),
        s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, rate))]),
      ticks(first, last).map((value) => s("text", { x: x(value), y: height - bottom + 17, "text-anchor": "middle" }, chart.x ? tickText(value, true) : show(value, "number"))),
      s("text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle" }, chart.x || "training step"), chart.lines.map(draw)),
    h("div", { class: "legend" }, chart.lines.map((line, place) =>
      h("span", {}, h("i", { style: `background:${colour(place)}` }), `${line.label} (${line.seeds} seed${line.seeds > 1 ? "s" : ": no result by itself"})`))));
}
