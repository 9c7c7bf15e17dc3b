// The list of episodes: filter by run, outcome and task type, search in names and instructions, and in every step.
const PAGE = 300;

function episodeRows(filters) {
  const words = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
  return data.runs.flatMap((run, number) => {
    if (!run.episodes || (filters.run && run.name !== filters.run)) return [];
    return run.episodes.task.flatMap((place, at) => {
      const [id, name, type, instruction] = run.tasks[place];
      if (filters.outcome && run.episodes.outcome[at] !== filters.outcome) return [];
      if (filters.type && type !== filters.type) return [];
      const about = `${id} ${name} ${type} ${instruction} ${run.name}`.toLowerCase();
      const found = words.every((word) => about.includes(word));
      return found || (filters.deep && words.length) ? [{ run, number, at, found }] : [];
    });
  });
}

// Keep the episodes whose steps hold all words, reading the chunks that are needed.
async function searchSteps(rows, text, alive) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean), kept = [];
  for (const row of rows) {
    if (!alive()) return null;
    if (row.found) { kept.push(row); continue; }
    const episode = await loadEpisode(row.number, row.at);
    const all = episode.steps.map((step) => `${step.observation} ${step.action} ${step.answer}`).join(" ").concat(" ", episode.final).toLowerCase();
    if (words.every((word) => all.includes(word))) kept.push(row);
  }
  return kept;
}

function episodeRow({ run, at }) {
  const [id, name, type, instruction] = taskOf(run, at), list = run.episodes, trial = list.trial[at];
  return h("tr", {},
    h("td", {}, h("a", { href: link(["episode", run.name, id, trial]) }, name || id), h("div", { class: "muted small" }, instruction)),
    h("td", {}, type), h("td", {}, run.name), h("td", { class: "num" }, h("a", { href: link(["group", run.name, id]), title: "all trials side by side" }, String(trial))),
    h("td", {}, pill(list.outcome[at])), h("td", { class: "num" }, show(list.score[at], "number")), h("td", { class: "num" }, list.steps[at]),
    h("td", { class: "num" }, list.invalid_actions[at]));
}

function episodeList() {
  const { query } = address();
  const filters = { run: query.get("run") || "", outcome: query.get("outcome") || "", type: query.get("type") || "", q: query.get("q") || "", deep: query.get("deep") === "1" };
  const body = h("tbody"), said = h("span", { class: "muted small", role: "status", id: "found" }), more = h("button", { type: "button", hidden: true }, "Show more");
  const types = [...new Set(data.runs.flatMap((run) => (run.tasks || []).map((task) => task[2])))].sort();
  let turn = 0, limit = PAGE;
  const update = async () => {
    const mine = ++turn;
    changeQuery({ ...filters, deep: filters.deep ? "1" : "" });
    let rows = episodeRows(filters);
    if (filters.deep && filters.q) {
      said.textContent = "searching\u2026";
      try { rows = await searchSteps(rows, filters.q, () => mine === turn && said.isConnected); } catch (error) { said.textContent = error.message; return; }
      if (!rows) return;
    }
    body.replaceChildren(...rows.slice(0, limit).map(episodeRow));
    said.textContent = `${rows.length} episode${rows.length === 1 ? "" : "s"}` + (rows.length > limit ? `, the first ${limit} shown` : "");
    more.hidden = rows.length <= limit;
  };
  more.addEventListener("click", () => { limit += 10 * PAGE; update(); });
  const set = (key) => (value) => { filters[key] = value; limit = PAGE; update(); };
  const all = (label, values) => [["", label], ...values.map((value) => [value, value])];
  queueMicrotask(update);
  const names = data.runs.filter((run) => run.episodes).map((run) => run.name);
  return [h("h1", {}, "Episodes"),
    h("div", { class: "bar", role: "search" },
      h("input", { type: "search", id: "search", placeholder: "Search tasks  ( / )", "aria-label": "Search", value: filters.q, oninput: (event) => set("q")(event.target.value) }),
      h("label", {}, h("input", { type: "checkbox", checked: filters.deep, onchange: (event) => set("deep")(event.target.checked) }), "in all steps, too"),
      names.length > 1 && field("Run", choice(all("all", names), filters.run, set("run"))),
      field("Outcome", choice(all("all", ["success", "failure", "error"]), filters.outcome, set("outcome"))),
      types.length > 1 && field("Task type", choice(all("all", types), filters.type, set("type"))), h("span", { class: "end" }, said)),
    h("div", { class: "card scroll" }, h("table", { "data-table": "episodes" }, h("thead", {}, h("tr", {},
      ["Task", "Type", "Run"].map((label) => h("th", { scope: "col" }, label)), h("th", { scope: "col", class: "num" }, "Trial"), h("th", { scope: "col" }, "Outcome"),
      ["Score", "Steps", "Invalid"].map((label) => h("th", { scope: "col", class: "num" }, label)))), body)),
    h("p", {}, more)];
}
