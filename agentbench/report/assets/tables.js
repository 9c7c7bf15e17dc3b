// A table that can be sorted, copied (tab-separated) and saved (CSV). Intervals stand in the cell of their estimate.
const records = (table) => table.rows.map((row) => Object.fromEntries(table.keys.map((key, place) => [key, row[place]])));

const csvCell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
};
// A spreadsheet takes text that begins so for a formula, and runs it.
const inert = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : value);
const asText = (keys, rows, cell, separator) => [keys, ...rows].map((row) => row.map((value) => cell(inert(value))).join(separator)).join("\n") + "\n";

async function copyText(text, button) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = said; }, 1200);
}

function tools(title, name, keys, rows) {
  const plain = (value) => String(value ?? "").replace(/[\t\n\r]+/g, " ");
  const save = () => h("a", {
    href: "data:text/csv;charset=utf-8," + encodeURIComponent(asText(keys, rows(), csvCell, ",")), download: name + ".csv",
  }).click();
  return h("div", { class: "tools" }, h("h2", {}, title),
    h("button", { type: "button", class: "copy", onclick: (event) => copyText(asText(keys, rows(), plain, "\t"), event.target) }, "Copy"),
    h("button", { type: "button", class: "save", onclick: save }, "CSV"));
}

// columns: {key, label, kind, low?, high?, href?(record)}; table: {keys, rows}
function tableView({ title, name, note, table, columns, strong }) {
  let rows = records(table), sorted = null, down = false;
  const shown = columns.filter((column) => table.keys.includes(column.key));
  const body = h("tbody");
  const cell = (column, record) => {
    const value = show(record[column.key], column.kind);
    const inner = column.href ? h("a", { href: column.href(record) }, value) : value;
    const range = column.low && record[column.low] !== null
      ? h("span", { class: "range" }, `[${show(record[column.low], column.kind)}, ${show(record[column.high], column.kind)}]`) : null;
    return h("td", { class: column.kind === "text" ? null : "num" }, inner, range);
  };
  const fill = () => body.replaceChildren(...rows.map((record) =>
    h("tr", { class: strong && strong(record) ? "total" : null }, shown.map((column) => cell(column, record)))));
  const heads = shown.map((column) => {
    const head = h("th", { scope: "col", class: column.kind === "text" ? null : "num" });
    head.append(h("button", { type: "button", title: "Sort", onclick: () => {
      down = sorted === column.key ? !down : column.kind !== "text";
      sorted = column.key;
      const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * (down ? -1 : 1));
      rows = [...rows].sort((a, b) => order(a[column.key], b[column.key]));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      fill();
    } }, column.label));
    return head;
  });
  fill();
  return h("section", {}, tools(title, name, table.keys, () => rows.map((record) => table.keys.map((key) => record[key]))),
    note && h("p", { class: "muted small" }, note), h("div", { class: "card scroll" }, h("table", { "data-table": name, "aria-label": title }, h("thead", {}, h("tr", {}, heads)), body)));
}
