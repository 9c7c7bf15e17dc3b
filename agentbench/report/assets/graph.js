// The trajectory graph of a task: anchor states merged over its episodes, edges coloured by a scheme's mean advantage.
function mergeSteps(episodes, scheme) {
  const nodes = new Map(), edges = new Map();
  const node = (id, text) => {
    if (!nodes.has(id)) nodes.set(id, { id, text, visits: 0, episodes: new Set(), start: false, goal: id === -1, led: new Map() });
    const found = nodes.get(id);
    if (!found.text) found.text = text;
    return found;
  };
  for (const episode of episodes) for (const [place, step] of episode.steps.entries()) {
    if (step.state < 0) continue;
    const from = node(step.state, step.observation), after = episode.steps[place + 1];
    const to = node(step.next, step.next === -1 ? "the goal: the episode ended with a reward" : after ? after.observation : episode.final);
    from.visits += 1; from.episodes.add(episode.trial); from.start ||= step.step === 0;
    if (from !== to) to.led.set(step.action, (to.led.get(step.action) || 0) + 1);
    const key = `${from.id}>${to.id}>${step.action}`;
    if (!edges.has(key)) edges.set(key, { from, to, action: step.action, count: 0, episodes: new Set(), credits: [] });
    const edge = edges.get(key);
    edge.count += 1; edge.episodes.add(episode.trial);
    if (scheme && step.credit[scheme.name] !== null) edge.credits.push(step.credit[scheme.name]);
  }
  for (const edge of edges.values()) edge.credit = edge.credits.length ? edge.credits.reduce((sum, value) => sum + value, 0) / edge.credits.length : null;
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

// The trees of a task: a step that was played is an edge, drawn once however many episodes share it. Where a branch goes on
// from a step of its parent, its first edge begins at the parent's node. An episode has a line of its own, below its parent's.
function growTrees(every, scheme) {
  const episodes = every.filter(({ steps }) => steps.length && steps[0].state >= 0);
  const nodes = new Map(), edges = [], trials = new Map(episodes.map((episode) => [episode.trial, episode]));
  const played = (trial, step) => { const { parent, fork } = trials.get(trial); return parent !== null && step <= fork ? played(parent, step) : `${trial}/${step}`; };
  const node = (trial, step, text) => {
    const id = played(trial, step);
    if (!nodes.has(id)) nodes.set(id, { id, text, visits: 0, episodes: new Set(), start: step === 0, goal: false, led: new Map(), x: 150 * step, y: 0, above: true, trial: Number(id.split("/")[0]) });
    return nodes.get(id);
  };
  for (const episode of episodes) for (const [place, step] of episode.steps.entries()) {
    const after = episode.steps[place + 1], from = node(episode.trial, step.step, step.observation), to = node(episode.trial, step.step + 1, after ? after.observation : episode.final);
    to.goal = step.next === -1;
    to.led.set(step.action, 1);
    const credits = scheme && step.credit[scheme.name] !== null ? [step.credit[scheme.name]] : [];
    edges.push({ from, to, action: step.action, count: 0, episodes: new Set(), credit: credits[0] ?? null, trial: episode.trial, fork: place === 0 && episode.parent !== null });
  }
  const into = new Map(edges.map((edge) => [edge.to, edge]));
  for (const { trial, fork, steps } of episodes) for (let at = nodes.get(played(trial, fork + steps.length)); at; at = into.get(at)?.from) {
    at.visits += 1; at.episodes.add(trial);
    const edge = into.get(at);
    if (edge) { edge.count += 1; edge.episodes.add(trial); }
  }
  const lanes = new Map();
  const lane = ({ trial }) => { lanes.set(trial, 40 * lanes.size); episodes.filter((other) => other.parent === trial).sort((a, b) => b.fork - a.fork || a.trial - b.trial).forEach(lane); };
  episodes.filter((episode) => episode.parent === null || !trials.has(episode.parent)).forEach(lane);
  for (const each of nodes.values()) each.y = lanes.get(each.trial);
  return { nodes: [...nodes.values()], edges };
}

// Place the nodes in columns by their distance from a start; within a column by the mean place of their neighbours.
function placeNodes({ nodes, edges }) {
  const after = new Map(nodes.map((node) => [node, []])), beside = new Map(nodes.map((node) => [node, []]));
  for (const edge of edges) if (edge.from !== edge.to) { after.get(edge.from).push(edge.to); beside.get(edge.from).push(edge.to); beside.get(edge.to).push(edge.from); }
  let front = nodes.filter((node) => node.start);
  front.forEach((node) => { node.depth = 0; });
  while (front.length) {
    const next = [];
    for (const node of front) for (const other of after.get(node)) if (other.depth === undefined) { other.depth = node.depth + 1; next.push(other); }
    front = next;
  }
  const columns = [];
  for (const node of nodes) (columns[node.depth ?? 0] ||= []).push(node);
  const spread = (column) => column.forEach((node, place) => { node.y = (place - (column.length - 1) / 2) * 30; });
  const apart = Math.max(150, Math.min(320, (48 * Math.max(...columns.map((column) => column.length))) / columns.length));
  columns.forEach((column, depth) => { column.forEach((node) => { node.x = depth * apart; }); spread(column); });
  const wish = (node) => beside.get(node).reduce((sum, other) => sum + other.y, 0) / (beside.get(node).length || 1);
  for (let round = 0; round < 8; round += 1) for (const column of columns) {
    const wishes = new Map(column.map((node) => [node, wish(node)]));
    spread(column.sort((a, b) => wishes.get(a) - wishes.get(b)));
  }
}

const nodeLabel = (node) => (node.goal ? "goal" : node.start ? "start" : [...node.led].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0] || "");
const radius = (node) => 4 + Math.min(9, 1.8 * Math.sqrt(node.visits || node.led.size));
const curve = ({ from, to }, bend) => {
  if (from === to) { const wide = 18 + 6 * bend, high = 30 + 11 * bend; return `M${from.x - 5} ${from.y - 7}c${-wide} ${-high} ${wide + 10} ${-high} 10 0`; }
  const level = from.x === to.x, far = Math.abs(to.y - from.y), back = to.x < from.x ? 40 + far / 6 : 0;
  const middle = (from.x + to.x) / 2 + (level ? (to.y > from.y ? 1 : -1) * (18 + far / 5 + bend * 9) : 0), lift = level ? 0 : back + bend * 9;
  return `M${from.x} ${from.y}Q${middle} ${(from.y + to.y) / 2 - lift} ${to.x} ${to.y}`;
};

function drawGraph(found, scheme, tell) {
  const ys = found.nodes.map((node) => node.y), xs = found.nodes.map((node) => node.x);
  const box = { x: Math.min(...xs) - 30, y: Math.min(...ys) - 40, w: Math.max(...xs) - Math.min(...xs) + 180, h: Math.max(...ys) - Math.min(...ys) + 80 };
  const whole = { ...box }, pairs = new Map();
  const svg = s("svg", { role: "group", "aria-label": `trajectory graph: ${found.nodes.length} states, ${found.edges.length} transitions` });
  const view = () => svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.w} ${box.h}`);
  const light = (some) => { for (const element of svg.querySelectorAll("[data-part]")) element.classList.toggle("dim", some && !some.has(element.__part)); };
  const edgeElement = (edge) => {
    const key = `${edge.from.id}>${edge.to.id}`, bend = pairs.get(key) || 0;
    pairs.set(key, bend + 1);
    const strength = scheme && edge.credit !== null ? Math.min(1, Math.abs(edge.credit) / (2 * (scheme.scale || 1))) : 0;
    const ink = !strength ? "var(--c7)" : `color-mix(in srgb, var(--${edge.credit > 0 ? "pos" : "neg"}) ${(30 + 70 * strength).toFixed(0)}%, var(--c7))`;
    const element = s("path", { class: edge.fork ? "edge fork" : "edge", "data-part": "edge", d: curve(edge, bend), stroke: ink, "stroke-width": Math.min(9, 1.2 + 1.2 * Math.sqrt(edge.count)), "marker-end": "url(#tip)",
      onmouseenter: () => { tell(edge); light(new Set([edge, edge.from, edge.to])); }, onmouseleave: () => light(null) });
    element.__part = edge;
    return element;
  };
  const nodeElement = (node) => {
    const near = found.edges.filter((edge) => edge.from === node || edge.to === node);
    const on = () => { tell(node, near); light(new Set([node, ...near, ...near.flatMap((edge) => [edge.from, edge.to])])); };
    const label = nodeLabel(node), element = s("g", { "data-part": "node", tabindex: 0, role: "button", "aria-label": `${label}, ${node.visits} visits`, onmouseenter: on, onfocus: on, onmouseleave: () => light(null), onblur: () => light(null) },
      s("circle", { class: "node" + (node.goal ? " goal" : node.start ? " start" : ""), cx: node.x, cy: node.y, r: radius(node) }),
      s("text", node.above ? { x: node.x, y: node.y - radius(node) - 4 } : { x: node.x + radius(node) + 4, y: node.y + 3.5 }, label.length > 24 ? label.slice(0, 23) + "\u2026" : label));
    element.__part = node;
    return element;
  };
  svg.append(s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 13, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { d: "M0 0L8 4L0 8z", fill: "var(--muted)" }))),
    ...found.edges.map(edgeElement), ...found.nodes.map(nodeElement));
  const zoom = (factor, px = 0.5, py = 0.5) => { box.x += box.w * (1 - factor) * px; box.y += box.h * (1 - factor) * py; box.w *= factor; box.h *= factor; view(); };
  const pan = (dx, dy) => { box.x += dx * box.w; box.y += dy * box.h; view(); };
  svg.addEventListener("wheel", (event) => { event.preventDefault(); const place = svg.getBoundingClientRect(); zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, (event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height); }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; });
  svg.addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const place = svg.getBoundingClientRect(), unit = Math.max(box.w / place.width, box.h / place.height);
    box.x -= (event.clientX - held[0]) * unit; box.y -= (event.clientY - held[1]) * unit; held = [event.clientX, event.clientY]; view();
  });
  svg.addEventListener("pointerup", () => { held = null; });
  view();
  return { svg, zoom, pan, fit: () => { Object.assign(box, whole); view(); } };
}

function partFacts(part, near, scheme) {
  const facts = (pairs) => h("dl", {}, pairs.filter(([, value]) => value !== null).map(([key, value]) => [h("dt", {}, key), h("dd", {}, value)]));
  const credit = (edge) => (scheme ? show(edge.credit, "credit") : null);
  if (part.action !== undefined) return [h("h3", { class: "mono" }, part.action), facts([["taken", part.trial === undefined ? `${part.count} times` : `once, in trial ${part.trial}`], ["trials", [...part.episodes].join(", ")], [scheme?.name || "credit", credit(part)]]), h("p", { class: "small" }, part.from.text), h("p", { class: "small muted" }, "\u2192 " + part.to.text)];
  const list = (title, edges) => (edges.length ? [h("h3", { class: "small" }, title), facts(edges.sort((a, b) => b.count - a.count).slice(0, 12).map((edge) => [`${edge.count} \u00d7`, [edge.action, scheme ? ` (${credit(edge)})` : ""].join("")]))] : null);
  return [h("h3", {}, nodeLabel(part)), facts([["visits", String(part.visits)], ["trials", [...part.episodes].join(", ") || null]]), h("p", { class: "small" }, part.text), list("Done here", near.filter((edge) => edge.from === part)), list("Led here", near.filter((edge) => edge.to === part))];
}

async function graph(name, task) {
  const number = runNumber(name), run = data.runs[number], places = run ? episodesOf(run, task) : [];
  if (!places.length) return notFound("This task");
  const episodes = await loadGroup(number, task), [id, title] = taskOf(run, places[0]);
  const hasBranches = episodes.some((episode) => episode.parent !== null);
  let scheme = run.schemes.find((each) => each.name === address().query.get("scheme")) || run.schemes[0], least = 1, picture;
  let shape = hasBranches ? address().query.get("shape") || "tree" : "states";
  const map = h("div", { class: "map" }), said = h("span", { class: "muted small", role: "status", id: "graph-size" });
  const fill = () => {
    const isTree = shape === "tree", all = isTree ? growTrees(episodes, scheme) : mergeSteps(episodes, scheme), edges = all.edges.filter((edge) => edge.count >= least);
    const ends = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
    const found = { edges, nodes: all.nodes.filter((node) => ends.has(node) || node.start || node.goal) };
    if (!found.nodes.length) { map.replaceChildren(h("p", {}, "No judged episode of this task yet.")); return; }
    if (!isTree) placeNodes(found);
    const aside = h("aside", { class: "card", "aria-live": "polite" }, h("p", { class: "muted" }, "Point at a state or a transition, or go to it with Tab."), h("p", { class: "muted small" }, hasBranches && isTree ? "A dashed step is where a branch goes on from the episode above it. " : null, "Blue: more than 0 credit; orange: less. Width: how often. Scroll or + and \u2212 to zoom, drag or arrow keys to move."));
    picture = drawGraph(found, scheme, (part, near) => aside.replaceChildren(...partFacts(part, near, scheme).flat().filter(Boolean)));
    map.replaceChildren(h("div", { class: "card" }, picture.svg), aside);
    const size = ({ nodes, edges }) => (isTree ? `${edges.length} steps played, ${edges.filter((edge) => edge.fork).length} forks` : `${nodes.length} states, ${edges.length} transitions`);
    said.textContent = size(found) + (least > 1 ? ` (of ${all.nodes.length} and ${all.edges.length})` : "");
  };
  fill();
  keys = { "+": () => picture.zoom(0.8), "=": () => picture.zoom(0.8), "-": () => picture.zoom(1.25), 0: () => picture.fit(), ArrowLeft: () => picture.pan(-0.1, 0), ArrowRight: () => picture.pan(0.1, 0), ArrowUp: () => picture.pan(0, -0.1), ArrowDown: () => picture.pan(0, 0.1) };
  const button = (label, text, act) => h("button", { type: "button", "aria-label": text, onclick: act }, label);
  return [h("h1", {}, title || id), h("div", { class: "bar" }, h("span", { class: "muted" }, `${run.name} \u00b7 ${episodes.length} episodes, ${places.filter((at) => run.episodes.outcome[at] === "success").length} won`), h("a", { href: link(["group", run.name, id]) }, "Side by side"),
    run.schemes.length ? field("Credit", choice(run.schemes.map((each) => [each.name, each.name]), scheme.name, (value) => { scheme = run.schemes.find((each) => each.name === value); changeQuery({ scheme: value }); fill(); })) : null,
    hasBranches ? field("Shape", choice([["tree", "tree"], ["states", "states merged"]], shape, (value) => { shape = value; changeQuery({ shape }); fill(); })) : null,
    field("Taken at least", choice([1, 2, 3, 5, 10].map((count) => [count, `${count}\u00d7`]), 1, (value) => { least = Number(value); fill(); })),
    button("\u2212", "zoom out", () => picture.zoom(1.25)), button("+", "zoom in", () => picture.zoom(0.8)), button("whole", "show the whole graph", () => picture.fit()), h("span", { class: "end" }, said)), map];
}
