// Sweeps: what was named before the first run, and what the seeds say of every scheme by each of the two measures.
const measureName = (name) => (name === "area" ? "Area under the learning curve" : `Final ${name}`);
const VERDICTS = { better: 2, worse: 1, tie: 5 }; // colours; what is not decided is grey
const inPoints = (value) => (value === null ? "\u2013" : String(Number((100 * value).toPrecision(2))));
const verdictText = (row) => (row.verdict === "tie" ? `equal within ${inPoints(row.margin)} points` : row.verdict);
const verdicts = (sweep, name) => (sweep.tables.comparisons ? records(sweep.tables.comparisons).filter((row) => row.measure === name) : []);

function differencePlot(title, rows) {
  const { against, margin } = rows[0];
  return dotPlot(`${title}: difference from ${against}, in points`, rows.map((row) => ({
    label: row.scheme, value: row.difference, low: row.low, high: row.high, colour: VERDICTS[row.verdict] ?? 7, said: verdictText(row) })),
  "points", null, { band: [-margin, margin], at: 0 });
}

function measurePart(sweep, name) {
  const { keys } = sweep.tables.comparisons, title = measureName(name), rows = verdicts(sweep, name);
  if (!rows.length) return null;
  const table = { keys: [...keys, "said"], rows: rows.map((row) => [...keys.map((key) => row[key]), verdictText(row)]) };
  const { seeds, spread, paired, clones } = rows[0];
  const over = `Over ${seeds} seed${seeds > 1 ? "s" : ""}${clones > 1 ? ` and ${clones} clones` : ""}`;
  const note = spread === null ? `${over}: no spread is known, so nothing is decided.` : `${over}, ${paired ? "paired by seed" : "pooled over schemes"}; a run differs ` +
    `from its scheme\u2019s mean by ${inPoints(spread)} points (standard deviation). Intervals hold for all schemes at once; the band is the margin of equality.`;
  return [tableView({ title, name: `verdicts-${name}`, table, note,
    columns: [{ key: "scheme", label: "Scheme", kind: "text" }, { key: "said", label: "Verdict", kind: "text" }, { key: "seeds", label: "Seeds", kind: "count" },
      { key: "difference", label: `Points from ${rows[0].against}`, kind: "points", low: "low", high: "high" }, { key: "p_differs", label: "p", kind: "probability" },
      { key: "p_equal", label: "p of a tie", kind: "probability" }, { key: "improvement", label: "A run is better", kind: "rate", low: "improvement_low", high: "improvement_high" }] }),
  h("div", { class: "charts below" }, differencePlot(title, rows),
    dotPlot(`Chance that a run does better than one of ${rows[0].against}`, rows.map((row) => ({
      label: row.scheme, value: row.improvement, low: row.improvement_low, high: row.improvement_high })), "rate", [0, 1], { at: 0.5 }))];
}

function schemePlots(sweep) {
  const rows = records(sweep.tables.schemes);
  const plot = (name, low, high) => dotPlot(`${measureName(name)}: interquartile mean over seeds`, rows.map((row, place) => ({
    label: row.scheme, value: row[name], low: row[low], high: row[high], colour: place })), "rate",
  [Math.floor(10 * Math.min(...rows.map((row) => row[low]))) / 10, Math.ceil(10 * Math.max(...rows.map((row) => row[high]))) / 10]);
  return [plot(sweep.measure, "low", "high"), plot("area", "area_low", "area_high")];
}

function sweepPart(sweep) {
  const parts = [h("h1", {}, `Schemes compared: ${sweep.name}`), h("p", { class: "muted" }, "Named before the first run:"),
    h("dl", { class: "mono" }, sweep.facts.map(([key, value]) => [h("dt", {}, key), h("dd", {}, value)])), notesBox(sweep.notes)];
  const { comparisons, schemes } = sweep.tables;
  if (comparisons) parts.push(sweep.primary_measures.map((name) => measurePart(sweep, name)));
  if (schemes) parts.push(h("h2", {}, "Every scheme by itself"), h("div", { class: "charts" }, schemePlots(sweep), sweep.profile && lineChart(sweep.profile)));
  return parts;
}

// For the first page: one line a sweep, with its first measure's verdicts.
const sweepLines = (sweep) => h("li", {}, h("a", { href: link(["schemes"]) }, sweep.name), ": ",
  verdicts(sweep, sweep.primary_measures[0]).map((row) => `${row.scheme} ${show(row.difference, "points")} points from ${row.against} (${verdictText(row)})`).join(", ") || "no verdict yet");

const sweeps = () => data.sweeps.map(sweepPart);
