// Steps of episodes, read when they are looked at: from the page itself, from files beside it, or from the server.
const kept = new Map();
const waiting = new Map();
window.agentbenchSteps = (name, packed) => { waiting.get(name)?.(packed); };

async function inflate(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const fetchChunk = (name) => new Promise((done, failed) => {
  const inline = byId("steps-" + name);
  if (inline) { done(inline.textContent); return; }
  const script = h("script", { src: `${source.prefix}${name}.js${source.kind === "live" ? "?v=" + source.version : ""}` });
  waiting.set(name, (packed) => { waiting.delete(name); script.remove(); done(packed); });
  script.onerror = () => failed(new Error(source.kind === "live"
    ? "the server does not answer: is agentbench view still running?"
    : `the file ${source.prefix}${name}.js is missing: keep the folder beside the page`));
  document.head.append(script);
});

function loadChunk(run, chunk) {
  const name = `${run}-${chunk}`;
  if (!kept.has(name)) {
    const loaded = fetchChunk(name).then(inflate);
    loaded.catch(() => kept.delete(name));
    kept.set(name, loaded);
  }
  return kept.get(name);
}

const runNumber = (name) => data.runs.findIndex((run) => run.name === name && run.episodes);
const findEpisode = (run, task, trial) => run.episodes.task.findIndex((place, at) => run.tasks[place][0] === task && String(run.episodes.trial[at]) === String(trial));
const episodesOf = (run, task) => run.episodes.task.flatMap((place, at) => (run.tasks[place][0] === task ? [at] : []));
const taskOf = (run, at) => run.tasks[run.episodes.task[at]];

// An episode with its texts in place of their numbers. A branch has the steps that it played itself, from its fork on.
async function loadEpisode(number, at) {
  const run = data.runs[number], task = taskOf(run, at)[0], trial = run.episodes.trial[at];
  const chunk = await loadChunk(number, run.episodes.chunk[at]);
  const packed = chunk.episodes[`${task}/${trial}`];
  if (!packed) throw new Error("this episode is not there yet");
  const text = (place) => (place < 0 ? "" : chunk.texts[place]);
  const { parent = null, fork = 0 } = packed;
  const steps = packed.action.map((action, step) => ({
    step: fork + step, action: text(action), observation: text(packed.observation[step]), answer: text(packed.answer[step]),
    offered: packed.offered[step] < 0 ? null : chunk.lists[packed.offered[step]].map(text),
    why: packed.why ? text(packed.why[step]) : "", about: packed.about ? text(packed.about[step]) : "",
    reward: packed.reward[step], valid: packed.valid[step], state: packed.state[step], next: packed.next[step],
    credit: Object.fromEntries(Object.entries(packed.credit).map(([name, values]) => [name, values[step]])),
  }));
  return { run, number, at, task, trial, parent, fork, steps, final: text(packed.final), error: text(packed.error) };
}
const loadGroup = (number, task) => Promise.all(episodesOf(data.runs[number], task).map((at) => loadEpisode(number, at)));
