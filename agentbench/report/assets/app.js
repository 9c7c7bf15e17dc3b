// Which page is shown, the keys, the theme, and news from a run that goes on.
let keys = {};
let shownPage = "";
let failed = false;
const READING = ["episode", "group", "graph"]; // pages that news must not disturb

const pages = {
  "": overview, schemes: sweeps, training, quality, episodes: episodeList, episode: reader, group, graph,
};
const menu = () => [["", "Results", true], ["schemes", "Schemes", data.sweeps.length], ["training", "Training", data.curves.length], ["quality", "Quality", data.tables.quality], ["episodes", "Episodes", data.runs.some((run) => run.episodes)]].filter((entry) => entry[2]);

async function navigate({ again = false } = {}) {
  const { parts } = address(), [page = "", ...rest] = parts, here = parts.join("/");
  const known = Object.hasOwn(pages, page) && (page !== "quality" || data.tables.quality) && (page !== "schemes" || data.sweeps.length);
  const place = again ? window.scrollY : 0;
  keys = {};
  shownPage = here;
  byId("nav").replaceChildren(...menu().map(([name, label]) => h("a", { href: link(name ? [name] : []), "aria-current": name === page || (name === "episodes" && READING.includes(page)) ? "page" : null }, label)));
  let content;
  failed = false;
  try {
    content = known ? await pages[page](...rest) : notFound("This page");
  } catch (error) {
    failed = true;
    content = [h("h1", {}, "This cannot be shown"), h("p", { class: "error" }, error.message)];
  }
  if (shownPage !== here) return;
  byId("main").replaceChildren(...content.flat(Infinity).filter(Boolean));
  window.scrollTo(0, place);
  if (!again) byId("main").focus({ preventScroll: true });
  const current = document.querySelector("tr.current");
  if (!again && address().query.get("step") > 0) current?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target.id === "search") { event.target.blur(); return; }
  if (event.target.closest("input, select, textarea")) return;
  const act = event.key === "/" ? () => byId("search")?.focus() : keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

const themes = ["auto", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";
try { theme = localStorage.getItem("agentbench-theme") || "auto"; } catch { /* a page from a file may have no storage */ }
function applyTheme() {
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  byId("theme").textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[theme];
}
dark.addEventListener("change", applyTheme);
byId("theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  try { localStorage.setItem("agentbench-theme", theme); } catch { /* as above */ }
  applyTheme();
});

async function askForNews() {
  try {
    const answer = await fetch(`data.json?version=${source.version}`);
    if (answer.status === 200) {
      const news = await answer.json();
      data = news.index;
      source.version = news.version;
      kept.clear();
      if (failed || (!READING.includes(address().parts[0]) && !document.activeElement?.closest("input, select"))) await navigate({ again: true });
    }
    byId("live").textContent = answer.ok ? "live" : (await answer.text()).slice(0, 200);
  } catch {
    byId("live").textContent = "the server has stopped";
  }
  setTimeout(askForNews, 2000);
}

window.addEventListener("hashchange", () => navigate());
applyTheme();
navigate();
if (source.kind === "live") askForNews();
