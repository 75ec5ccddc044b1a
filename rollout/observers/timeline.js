
"use strict";
// Sorting, filtering, and arrow keys. Without a script the page still shows everything.
// The part of the address after # is kept: #sort=run, #sort=-run, #filter=us-west1, #step=ID, joined by &.
const told = JSON.parse(document.getElementById("data").textContent);
const listbox = document.getElementById("rows");
const table = document.getElementById("steps");
const body = table.tBodies[0];
const filter = document.getElementById("filter");
const shown = document.getElementById("shown");
const chosen = document.getElementById("chosen");
const rows = [...listbox.children];
const lines = [...body.rows];
const address = new URLSearchParams(location.hash.slice(1));

function remember(key, value) {
  if (value) address.set(key, value); else address.delete(key);
  try { history.replaceState(null, "", "#" + address); } catch { /* a page from a file may not change its address */ }
}

function sort(key, descending) {
  const buttons = [...table.tHead.querySelectorAll("button")];
  const column = buttons.findIndex(button => button.dataset.key === key);
  if (column < 0) return;
  const value = line => {
    const cell = line.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const order = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  const sorted = [...body.rows].map(line => [value(line), line]).sort((a, b) => order(a[0], b[0]));
  if (descending) sorted.reverse();
  body.append(...sorted.map(pair => pair[1]));
  buttons.forEach((button, i) => {
    const head = button.closest("th");
    if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  remember("sort", (descending ? "-" : "") + key);
}

function select(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  for (const element of [...rows, ...lines]) element.hidden = !wanted.every(word => element.dataset.text.includes(word));
  const count = lines.filter(line => !line.hidden).length;
  shown.textContent = `${count.toLocaleString("en")} of ${lines.length.toLocaleString("en")} steps`;
  remember("filter", words);
}

function choose(row) {
  if (!row) return;
  for (const other of listbox.querySelectorAll('[aria-selected="true"]')) {
    other.setAttribute("aria-selected", "false");
    other.tabIndex = -1;
  }
  if (rows[0] !== row) rows[0].tabIndex = -1;
  row.setAttribute("aria-selected", "true");
  row.tabIndex = 0;
  chosen.textContent = told[row.dataset.step];
  remember("step", row.dataset.step);
}

function move(from, key) {
  const visible = rows.filter(row => !row.hidden);
  const at = visible.indexOf(from);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 20, PageUp: at - 20, Home: 0, End: visible.length - 1 }[key];
  if (to === undefined) return false;
  const row = visible[Math.min(Math.max(to, 0), visible.length - 1)];
  choose(row);
  row.focus();
  return true;
}

table.tHead.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const before = button.closest("th").getAttribute("aria-sort");
  // Figures are looked at from the largest down.
  sort(button.dataset.key, before ? before === "ascending" : button.closest("th").classList.contains("figure"));
});
listbox.addEventListener("click", event => choose(event.target.closest(".row")));
listbox.addEventListener("keydown", event => {
  const row = event.target.closest(".row");
  if (row && move(row, event.key)) event.preventDefault();
});
filter.addEventListener("input", () => select(filter.value));

filter.value = address.get("filter") || "";
select(filter.value);
const key = address.get("sort");
if (key) sort(key.replace(/^-/, ""), key.startsWith("-"));
if (address.has("step")) {
  const row = rows.find(each => each.dataset.step === address.get("step"));
  choose(row);
  if (row) row.scrollIntoView({ block: "center" });
}
document.documentElement.dataset.ready = String(lines.length);
