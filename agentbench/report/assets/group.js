// The episodes of one task side by side. Pointing at a step marks the steps of all episodes in the same situation.
async function group(name, task) {
  const number = runNumber(name);
  const run = data.runs[number];
  const places = run ? episodesOf(run, task) : [];
  if (!places.length) return notFound("This task");
  const episodes = await loadGroup(number, task), [id, title, type, instruction] = taskOf(run, places[0]);
  let scheme = run.schemes.find((each) => each.name === address().query.get("scheme")) || run.schemes[0], current = 0;
  const columns = h("div", { class: "columns" });
  const same = (state) => { for (const item of columns.querySelectorAll("li")) item.classList.toggle("same", state >= 0 && item.dataset.state === String(state)); };
  const item = (episode, step) => {
    const element = h("li", { "data-step": step.step, "data-state": step.state, title: step.observation, onmouseenter: () => same(step.state), onmouseleave: () => same(-1),
      onclick: () => { location.hash = link(["episode", run.name, id, episode.trial], { step: step.step }); } },
      h("b", {}, step.step), h("span", { class: step.valid ? "mono" : "mono error" }, step.action));
    if (scheme) element.append(tint(h("em", {}, show(step.credit[scheme.name], "credit")), step.credit[scheme.name], scheme.scale));
    return element;
  };
  const fill = () => columns.replaceChildren(...episodes.map((episode) => h("section", { class: "card" },
    h("header", {}, h("a", { href: link(["episode", run.name, id, episode.trial]) }, `Trial ${episode.trial}`), " ", pill(run.episodes.outcome[episode.at]),
      h("div", { class: "muted small" }, `${episode.steps.length} steps \u00b7 score ${show(run.episodes.score[episode.at], "number")}`), branchNote(run, id, episode)),
    h("ol", {}, episode.steps.map((step) => item(episode, step))))));
  const move = (by) => {
    current = Math.max(0, Math.min(Math.max(...episodes.map(({ fork, steps }) => fork + steps.length)) - 1, current + by));
    for (const element of columns.querySelectorAll("li")) element.classList.toggle("current", element.dataset.step === String(current));
    columns.querySelector("li.current")?.scrollIntoView({ block: "nearest" });
  };
  keys = { ArrowRight: () => move(1), ArrowDown: () => move(1), ArrowLeft: () => move(-1), ArrowUp: () => move(-1) };
  fill();
  const elsewhere = data.runs.filter((each) => each !== run && each.tasks?.some((other) => other[0] === id));
  return [h("h1", {}, title || id), h("p", {}, instruction),
    h("div", { class: "bar" }, h("span", { class: "muted" }, `${type} \u00b7 ${run.name} \u00b7 ${episodes.length} episode${episodes.length > 1 ? "s" : ""}`), h("a", { href: link(["graph", run.name, id]) }, "Trajectory graph"),
      elsewhere.length ? h("span", {}, "The same task in ", elsewhere.map((each) => [h("a", { href: link(["group", each.name, id]) }, each.name), " "])) : null,
      run.schemes.length ? field("Credit", choice(run.schemes.map((each) => [each.name, each.name]), scheme.name, (value) => { scheme = run.schemes.find((each) => each.name === value); changeQuery({ scheme: value }); fill(); })) : null),
    h("p", { class: "muted small" }, "Point at a step to mark every step of the group in the same anchor state; choose it to read it. Arrow keys go through the steps."), columns];
}
