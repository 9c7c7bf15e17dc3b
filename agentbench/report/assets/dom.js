// Make elements. Everything that comes from a run goes through text nodes, never through markup.
const make = (create) => (name, facts = {}, ...children) => {
  const element = create(name);
  for (const [key, value] of Object.entries(facts)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "disabled") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};
const h = make((name) => document.createElement(name));
const s = make((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
const byId = (id) => document.getElementById(id);

const { index: firstIndex, source } = JSON.parse(byId("data").textContent);
let data = firstIndex;

// The address: #/page/part/part?key=value
const link = (parts, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return "#/" + parts.map(encodeURIComponent).join("/") + (text ? "?" + text : "");
};
const address = () => {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query || "") };
};
const changeQuery = (changes) => {
  const { parts, query } = address();
  history.replaceState(null, "", link(parts, { ...Object.fromEntries(query), ...changes }));
};

const digits = (value, places) => value.toFixed(places).replace(/^-(0(\.0*)?)$/, "$1").replace("-", "\u2212");
const forms = {
  text: (value) => String(value),
  count: (value) => String(value),
  number: (value) => (Number.isInteger(value) ? digits(value, 0) : digits(value, Math.abs(value) < 10 ? 3 : 1)),
  mean: (value) => digits(value, 1),
  rate: (value) => digits(100 * value, 1) + " %",
  points: (value) => (value > 0 ? "+" : "") + digits(100 * value, 1),
  probability: (value) => (value < 0.001 ? "< 0.001" : digits(value, 3)),
  credit: (value) => (value === 0 ? "0" : (value > 0 ? "+" : "") + digits(value, Math.abs(value) < 10 ? 2 : 1)),
};
const show = (value, kind) => (value === null || value === undefined ? "\u2013" : typeof value === "number" ? forms[kind](value) : String(value));
const field = (label, control) => h("label", {}, label, control);
const choice = (options, chosen, onchange) =>
  h("select", { onchange: (event) => onchange(event.target.value) },
    options.map(([value, label]) => h("option", { value, selected: String(value) === String(chosen) }, label)));
const pill = (outcome) => h("span", { class: "pill " + outcome }, outcome);

// Colour of a credit: blue above 0, orange below, full at twice the scheme's root mean square.
const tint = (element, value, scale) => {
  if (!value || !scale) return element;
  element.classList.add(value >= 0 ? "pos" : "neg");
  element.style.setProperty("--w", Math.min(62, (31 * Math.abs(value)) / scale).toFixed(0));
  return element;
};
