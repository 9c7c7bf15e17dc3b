// The first pages: what the runs amount to, how training went, how good the schemes are.
const notesBox = (notes) => (notes.length ? h("div", { class: "notes", role: "note" }, h("ul", {}, notes.map((note) => h("li", {}, note)))) : null);
const rate = (key, label, stem) => ({ key, label, kind: "rate", low: `${stem}_low`, high: `${stem}_high` });
const hasRun = (name) => runNumber(name) >= 0;
const runLink = (record) => (hasRun(record.run) ? link(["episodes"], { run: record.run }) : null);

function runFacts(run) {
  const facts = (title, pairs) => (pairs.length ? [h("h3", { class: "small" }, title), h("dl", { class: "mono" }, pairs.map(([key, value]) => [h("dt", {}, key), h("dd", {}, value || "\u2013")]))] : null);
  return h("details", {}, h("summary", {}, `${run.name}: settings and versions`), facts("asked for", run.settings), facts("made with", run.versions));
}

const singleRuns = () => data.runs.filter((run) => !run.sweep);
const sweepRuns = (sweep) => data.runs.filter((run) => run.sweep === sweep.name);

const progress = (run) => {
  const played = run.episodes ? run.episodes.task.length : 0;
  if (run.kind === "train" || run.training_steps !== null) return run.training_steps === null ? null : `${run.name}: ${run.training_steps} training steps`;
  return played < run.expected ? `${run.name} is not finished: ${played} of ${run.expected} episodes` : null;
};

const scoreIsSuccess = (rows) => rows.every((row) => row.mean_score === row.success_rate);

function overview() {
  const { rates, passes, comparisons, tasks, answers, reasons } = data.tables;
  const unfinished = singleRuns().map(progress).filter(Boolean);
  const parts = [h("h1", {}, "Results"),
    h("p", { class: "muted" }, [...data.sweeps.map((sweep) => `${sweep.name}: ${sweepRuns(sweep).length} training runs`),
      ...singleRuns().map((run) => [run.name, [run.policy || run.scheme, run.env, run.split].filter(Boolean).join(", ")].join(": "))].join(" \u00b7 ")),
    notesBox([...unfinished, ...data.notes])];
  if (data.sweeps.length) parts.push(h("h2", {}, "Schemes compared"), h("ul", {}, data.sweeps.map(sweepLines)));
  if (rates) {
    const overall = records(rates).filter((row) => row.task_type === "overall");
    const columns = rateColumns.filter((column) => column.key !== "mean_score" || !scoreIsSuccess(records(rates)));
    const types = [...new Set(records(rates).map((row) => row.task_type))];
    parts.push(tableView({
      title: "Runs", name: "runs", columns, note: "Rates are means over tasks with 95 % intervals; errors of the infrastructure are counted apart and never as failures.",
      table: { keys: rates.keys, rows: rates.rows.filter((row) => row[rates.keys.indexOf("task_type")] === "overall") },
    }));
    if (comparisons) parts.push(tableView({ title: "Paired differences", name: "comparisons", table: comparisons, columns: comparisonColumns,
      note: "Task by task against the baseline, in points of success; p by sign flips, and corrected by Holm\u2019s method for all runs compared at once." }));
    const names = overall.map((row) => row.run);
    const rows = types.flatMap((type) => records(rates).filter((row) => row.task_type === type).map((row) => ({
      label: names.length > 1 ? `${type} \u00b7 ${row.run}` : type, value: row.success_rate, low: row.success_low, high: row.success_high, colour: names.indexOf(row.run) })));
    parts.push(h("h2", {}, "Success by task type"), dotPlot("Success rate, 95 % interval", rows, "rate", [0, 1]));
    parts.push(tableView({ title: "By task type", name: "task-types", table: rates, strong: (row) => row.task_type === "overall",
      columns: [rateColumns[0], { key: "task_type", label: "Task type", kind: "text" }, ...columns.slice(1)] }));
    if (passes) parts.push(tableView({ title: "Several trials a task", name: "passes", table: passes, note: "pass@k: at least one of k trials succeeds; pass^k: all k do.",
      columns: [rateColumns[0], { key: "task_type", label: "Task type", kind: "text" }, { key: "k", label: "k", kind: "count" }, rate("pass_at_k", "pass@k", "pass_at_k"), rate("pass_hat_k", "pass^k", "pass_hat_k")] }));
    if (answers) parts.push(tableView({ title: "Answers", name: "answers", table: answers, columns: answerColumns,
      note: "Invalid is what the environment did not understand; broke format what the prompt\u2019s rules did not allow. A loop is an episode in which one action met the same observation three times or more." }));
    if (reasons) parts.push(tableView({ title: "Why answers broke the format", name: "reasons", table: reasons, columns: reasonColumns }));
    if (tasks) parts.push(changedTasks(tasks));
  }
  if (!rates) parts.push(h("p", {}, data.curves.length ? ["These are training runs: see ", h("a", { href: link(["training"]) }, "learning curves"), "."] : "No episode has finished yet."));
  parts.push(h("h2", {}, "What was run"), singleRuns().map(runFacts),
    data.sweeps.map((sweep) => h("details", {}, h("summary", {}, `${sweep.name}: ${sweepRuns(sweep).length} runs`), sweepRuns(sweep).map(runFacts))));
  return parts;
}

const rateColumns = [
  { key: "run", label: "Run", kind: "text", href: runLink }, { key: "tasks", label: "Tasks", kind: "count" }, { key: "episodes", label: "Episodes", kind: "count" },
  { key: "errors", label: "Errors", kind: "count" }, rate("success_rate", "Success", "success"), rate("mean_score", "Score", "score"),
  { key: "mean_steps", label: "Steps", kind: "mean" }, { key: "invalid_action_share", label: "Invalid", kind: "rate" },
];
const answerColumns = [
  { key: "run", label: "Run", kind: "text", href: runLink }, { key: "answers", label: "Answers", kind: "count" }, { key: "invalid_share", label: "Invalid", kind: "rate" },
  { key: "broke_format_share", label: "Broke format", kind: "rate" }, { key: "cut_share", label: "Cut", kind: "rate" }, { key: "loop_share", label: "Episodes with a loop", kind: "rate" },
  { key: "prompt_tokens", label: "Prompt tokens", kind: "count" }, { key: "cached_tokens", label: "cached", kind: "count" },
  { key: "answer_tokens", label: "Answer tokens", kind: "count" }, { key: "model", label: "Answered by", kind: "text" },
];
const reasonColumns = [
  { key: "run", label: "Run", kind: "text", href: runLink }, { key: "reason", label: "Reason", kind: "text" }, { key: "answers", label: "Answers", kind: "count" }, { key: "share", label: "Share", kind: "rate" },
];
const comparisonColumns = [
  { key: "other", label: "Run", kind: "text" }, { key: "baseline", label: "Baseline", kind: "text" }, { key: "tasks", label: "Tasks", kind: "count" },
  { key: "baseline_mean", label: "Baseline", kind: "rate" }, { key: "other_mean", label: "Run", kind: "rate" },
  { key: "difference", label: "Difference, points", kind: "points", low: "low", high: "high" }, { key: "better", label: "Better", kind: "count" },
  { key: "worse", label: "Worse", kind: "count" }, { key: "p_value", label: "p", kind: "probability" }, { key: "p_adjusted", label: "p (Holm)", kind: "probability" },
];

function changedTasks(tasks) {
  const at = tasks.keys.indexOf("difference");
  const table = { keys: tasks.keys, rows: tasks.rows.filter((row) => row[at] !== 0) };
  const to = (run) => (record) => link(["group", record[run], record.task_id]);
  return tableView({ title: "Tasks that changed", name: "changed-tasks", table, note: `${table.rows.length} of ${tasks.rows.length} comparisons of a task differ; a rate opens its episodes.`,
    columns: [{ key: "task_name", label: "Task", kind: "text" }, { key: "task_type", label: "Task type", kind: "text" },
      { key: "baseline_run", label: "Baseline", kind: "text" }, { key: "baseline", label: "Rate", kind: "rate", href: to("baseline_run") },
      { key: "other_run", label: "Run", kind: "text" }, { key: "other", label: "Rate", kind: "rate", href: to("other_run") },
      { key: "difference", label: "Difference, points", kind: "points" }] });
}

function training() {
  const table = { keys: ["line", "seeds", "metric", "step", "estimate", "low", "high"], rows: data.curves.flatMap((chart) => chart.lines.flatMap((line) =>
    line.step.map((step, at) => [line.label, line.seeds, chart.metric, step, line.estimate[at], line.low[at], line.high[at]]))) };
  const last = { keys: table.keys, rows: table.rows.filter((row, at) => !table.rows[at + 1] || table.rows[at + 1][0] !== row[0] || table.rows[at + 1][2] !== row[2]) };
  return [h("h1", {}, "Learning curves"),
    h("p", { class: "muted" }, "Lines are interquartile means over seeds, bands their 95 % intervals. A dashed line is a single run: it says nothing about what another seed would do."),
    notesBox(data.notes), h("div", { class: "charts" }, data.curves.map(lineChart)),
    tableView({ title: "At the last step", name: "last-step", table: last, columns: [{ key: "line", label: "Line", kind: "text" }, { key: "metric", label: "Measure", kind: "text" },
      { key: "seeds", label: "Seeds", kind: "count" }, { key: "step", label: "Step", kind: "count" }, { key: "estimate", label: "Estimate", kind: "number", low: "low", high: "high" }] }),
    tools("All points", "curves", table.keys, () => table.rows)];
}

function quality() {
  const table = data.tables.quality, first = records(table)[0];
  const hidden = (key) => /_(low|high)$/.test(key) && table.keys.includes(key.replace(/_(low|high)$/, ""));
  const columns = table.keys.filter((key, at) => !hidden(key) && table.rows.some((row) => row[at] !== null)).map((key) => ({ key, label: key.replaceAll("_", " "),
    kind: table.rows.every((row) => row[table.keys.indexOf(key)] === null || typeof row[table.keys.indexOf(key)] === "number") ? "number" : "text",
    low: table.keys.includes(`${key}_low`) && `${key}_low` in first ? `${key}_low` : undefined, high: `${key}_high` }));
  const plot = (picture) => dotPlot(picture.title.replaceAll("_", " "), picture.rows.map(([label, value, low, high]) => ({ label, value, low, high, colour: ["exact", "random", "constant"].includes(label) ? 7 : 0 })), "number", null);
  const parts = [...new Set(data.quality_plots.map((picture) => picture.part))], charts = h("div", { class: "charts" });
  const fill = (part) => charts.replaceChildren(...data.quality_plots.filter((picture) => picture.part === part).map(plot));
  fill(parts[0]);
  return [h("h1", {}, "Quality of the credit schemes"), h("p", { class: "muted" }, "Each scheme\u2019s numbers against the true advantages of the same steps, with intervals."),
    parts.length > 1 && h("div", { class: "bar" }, field("Measured on", choice(parts.map((part) => [part, part]), parts[0], fill))), charts, tableView({ title: "All measures", name: "quality", table, columns })];
}
