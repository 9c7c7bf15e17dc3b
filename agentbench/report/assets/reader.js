// One episode: its credit as a strip, its steps as a table with a column a scheme, read with the arrow keys.
let chosenSchemes = null;

const schemesOf = (run) => run.schemes.filter(({ name }) => !chosenSchemes || chosenSchemes.has(name));
const notFound = (what) => [h("h1", {}, "Not here"), h("p", {}, what + " is not on this page. "), h("p", {}, h("a", { href: link(["episodes"]) }, "All episodes"))];

// Of a branch: where it goes on from, as a link to there.
const branchNote = (run, task, { parent, fork }) => parent !== null && h("div", { class: "small branch" }, "goes on from ", h("a", { href: link(["episode", run.name, task, parent], { step: fork }) }, `step ${fork} of trial ${parent}`));

// Text with the searched words marked.
function marked(text, words) {
  if (!words.length) return [text];
  const pattern = new RegExp("(" + words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "i");
  return text.split(pattern).map((part, place) => (place % 2 ? h("mark", {}, part) : part));
}

function schemeBoxes(run, changed) {
  if (!run.schemes.length) return null;
  return run.schemes.map(({ name }) => h("label", {}, h("input", { type: "checkbox", checked: !chosenSchemes || chosenSchemes.has(name), onchange: (event) => {
    chosenSchemes ||= new Set(run.schemes.map((scheme) => scheme.name));
    chosenSchemes[event.target.checked ? "add" : "delete"](name);
    changed();
  } }), name));
}

function creditStrip(episode, choose) {
  const schemes = schemesOf(episode.run);
  if (!schemes.length || !episode.steps.length) return null;
  return h("div", { class: "card strip", role: "img", "aria-label": "credit of every step by scheme: blue above 0, orange below" }, schemes.map(({ name, scale }) =>
    h("div", {}, h("span", {}, name), episode.steps.map((step) =>
      tint(h("i", { "data-step": step.step, title: `${name}, step ${step.step}: ${show(step.credit[name], "credit")}\n${step.action}`, onclick: () => choose(step.step) }), step.credit[name], scale)))));
}

function stepRow(episode, step, words, choose) {
  const offered = step.offered && h("details", { class: "offered" }, h("summary", {}, `${step.offered.length} actions offered`), step.offered.join(" \u00b7 "));
  const answer = step.answer && step.answer !== step.action && h("details", { class: "offered" }, h("summary", {}, "whole answer"), h("div", { class: "mono" }, step.answer));
  return h("tr", { "data-step": step.step, onclick: (event) => { if (!event.target.closest("summary, a")) choose(step.step); } },
    h("td", { class: "num muted" }, step.step),
    h("td", { class: "observation" }, h("div", { class: "short" }, marked(step.observation, words)), offered),
    h("td", { class: "action mono" }, marked(step.action, words), !step.valid && h("div", { class: "error small" }, "not understood"),
      step.why && h("div", { class: "error small why" }, `broke the format: ${step.why}`), step.about && h("div", { class: "muted small about" }, step.about), answer),
    h("td", { class: "num" }, step.reward ? show(step.reward, "number") : "0"),
    schemesOf(episode.run).map(({ name, scale }) => tint(h("td", { class: "credit" }, show(step.credit[name], "credit")), step.credit[name], scale)));
}

function readerView(episode) {
  const { run, at } = episode, total = run.episodes.task.length;
  const [id, name, type, instruction] = taskOf(run, at);
  const other = (place) => link(["episode", run.name, taskOf(run, place)[0], run.episodes.trial[place]]);
  let words = (address().query.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean), only = "";
  let current = Math.max(episode.fork, Math.min(Number(address().query.get("step") || 0), episode.fork + episode.steps.length - 1));
  const table = h("div", { class: "card scroll" }), strip = h("div"), said = h("span", { class: "muted small", role: "status", id: "steps-found" });
  const matches = (step) => (only !== "invalid" || !step.valid) && (only !== "broke" || step.why) && (only !== "rewarded" || step.reward !== 0)
    && words.every((word) => `${step.observation} ${step.action} ${step.answer} ${step.why}`.toLowerCase().includes(word));
  const mark = (scroll) => {
    for (const element of [...table.querySelectorAll("tr.current, tr[aria-current]"), ...strip.querySelectorAll("i.current")]) { element.classList.remove("current"); element.removeAttribute("aria-current"); }
    for (const element of strip.querySelectorAll(`i[data-step="${current}"]`)) element.classList.add("current");
    const row = table.querySelector(`tr[data-step="${current}"]`);
    row?.classList.add("current");
    row?.setAttribute("aria-current", "step");
    if (scroll) row?.scrollIntoView({ block: "nearest" });
    changeQuery({ step: current });
  };
  const choose = (step, scroll = true) => { current = step; mark(scroll); };
  const fill = () => {
    const found = episode.steps.filter(matches);
    said.textContent = found.length === episode.steps.length ? `${found.length} steps` : `${found.length} of ${episode.steps.length} steps`;
    table.replaceChildren(h("table", { class: "steps", "data-table": "steps" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "num" }, "Step"), h("th", { scope: "col" }, "Observation"), h("th", { scope: "col" }, "Action"),
      h("th", { scope: "col", class: "num" }, "Reward"), schemesOf(run).map((scheme) => h("th", { scope: "col", class: "num" }, scheme.name)))),
      h("tbody", {}, found.map((step) => stepRow(episode, step, words, choose)))));
    strip.replaceChildren(...[creditStrip(episode, choose)].filter(Boolean));
    if (found.length && !found.some((step) => step.step === current)) current = found[0].step;
    mark(false);
  };
  const move = (by) => {
    const found = episode.steps.filter(matches).map((step) => step.step), place = found.indexOf(current);
    if (found.length) choose(found[Math.max(0, Math.min(found.length - 1, place + by))]);
  };
  keys = { ArrowRight: () => move(1), ArrowDown: () => move(1), ArrowLeft: () => move(-1), ArrowUp: () => move(-1), Home: () => move(-1e9), End: () => move(1e9),
    n: () => at + 1 < total && (location.hash = other(at + 1)), p: () => at > 0 && (location.hash = other(at - 1)) };
  fill();
  const columns = ["step", "observation", "action", "reward", "valid", ...(episode.steps.some((step) => step.why || step.about) ? ["answer", "why", "about"] : [])];
  const rows = () => episode.steps.map((step) => [...columns.map((key) => step[key]), ...run.schemes.map((scheme) => step.credit[scheme.name])]);
  return [h("h1", {}, name || id), h("p", {}, instruction),
    h("div", { class: "bar" }, pill(run.episodes.outcome[at]), h("span", { class: "muted" }, `${type} \u00b7 ${run.name} \u00b7 trial ${episode.trial} \u00b7 ${episode.steps.length} steps \u00b7 score ${show(run.episodes.score[at], "number")}`),
      h("a", { href: link(["group", run.name, id]) }, "Side by side"), h("a", { href: link(["graph", run.name, id]) }, "Trajectory graph"),
      h("span", { class: "end" }, at > 0 && h("a", { href: other(at - 1), id: "previous" }, "\u2190 previous"), " ", at + 1 < total && h("a", { href: other(at + 1), id: "next" }, "next \u2192"))),
    branchNote(run, id, episode),
    episode.error && h("p", { class: "error", style: "white-space: pre-wrap" }, episode.error),
    run.skipped.length ? h("details", {}, h("summary", { class: "small" }, `${run.skipped.length} scheme${run.skipped.length > 1 ? "s" : ""} could not be computed`), h("ul", { class: "small" }, run.skipped.map(([scheme, why]) => h("li", {}, `${scheme}: ${why}`)))) : null,
    h("div", { class: "bar" },
      h("input", { type: "search", id: "search", placeholder: "Filter steps  ( / )", "aria-label": "Filter steps", value: words.join(" "), oninput: (event) => { words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean); changeQuery({ q: event.target.value }); fill(); } }),
      field("Show", choice([["", "all steps"], ["rewarded", "rewarded"], ["invalid", "not understood"], ["broke", "broke the format"]], only, (value) => { only = value; fill(); })),
      schemeBoxes(run, fill), said),
    strip, tools("Steps", `episode-${id}-${episode.trial}`, [...columns, ...run.schemes.map((scheme) => scheme.name)], rows), table,
    episode.final && h("p", {}, h("span", { class: "muted" }, "After the last action: "), episode.final),
    h("p", { class: "muted small" }, h("kbd", {}, "\u2190"), " ", h("kbd", {}, "\u2192"), " step \u00b7 ", h("kbd", {}, "p"), " ", h("kbd", {}, "n"), " episode \u00b7 ", h("kbd", {}, "/"), " search")];
}

async function reader(name, task, trial) {
  const number = runNumber(name), at = number < 0 ? -1 : findEpisode(data.runs[number], task, trial);
  return at < 0 ? notFound("This episode") : readerView(await loadEpisode(number, at));
}
