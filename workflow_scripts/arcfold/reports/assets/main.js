// The page comes to life: pages by the address behind #, keys, what is drawn anew when the width changes.

import { find, findAll } from "./dom.js";
import { setUpTable } from "./table.js";
import { drawOverview, setUpOverview } from "./overview.js";
import { drawMatrix, link, setUpMatrix } from "./matrix.js";
import { drawTask, neighbour, numberOf } from "./task.js";
import { drawCompare } from "./compare.js";
import { setUpKeys } from "./keyboard.js";
import { setUpTheme, switchTheme } from "./theme.js";

/** The page that is shown: its name and what stands behind it in the address. */
let page = "";
let rest = [];

/** #/task/00576224 is the page `task` of 00576224. */
function follow() {
  if (location.hash && !location.hash.startsWith("#/")) return; // a place on the page
  const parts = location.hash.slice(2).split("/").map(decode);
  page = ["tasks", "task", "compare"].includes(parts[0]) ? parts[0] : "overview";
  rest = parts.slice(1);
  if (page === "task" && numberOf(rest[0]) < 0) page = "tasks";
  for (const section of findAll("main > .page")) section.hidden = section.id !== page;
  for (const entry of findAll("nav a")) {
    const here = entry.dataset.page === (page === "task" ? "tasks" : page);
    if (here) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  draw();
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function draw() {
  if (page === "overview") drawOverview();
  if (page === "tasks") drawMatrix();
  if (page === "task") drawTask(numberOf(rest[0]));
  if (page === "compare") drawCompare(rest[0], rest[1]);
}

function step(by) {
  if (page === "task") location.hash = link(neighbour(numberOf(rest[0]), by));
  else if (page === "overview") focusRow(by);
  else return false;
  return true;
}

/** The row of the table of runs before or behind the one that has the focus. */
function focusRow(by) {
  const rows = findAll("#runs .configuration").filter((row) => !row.closest("tbody").hidden);
  const here = rows.indexOf(document.activeElement.closest(".configuration"));
  rows[Math.max(0, Math.min(rows.length - 1, here < 0 ? 0 : here + by))]?.focus();
}

function back() {
  if (page === "task") location.hash = "#/tasks";
  else if (page !== "overview") location.hash = "#/";
  else return false;
  return true;
}

const go = (address) => () => {
  location.hash = address;
};

setUpTheme(find("#theme"));
setUpTable(drawOverview);
setUpOverview();
setUpMatrix();
setUpKeys([
  [["1"], "overview", go("#/")],
  [["2"], "tasks", go("#/tasks")],
  [["3"], "compare", go("#/compare")],
  [["/"], "filter", () => find(page === "overview" ? "#runs-filter" : "#tasks-filter").focus()],
  [["j", "k"], "next and previous run or task", (event) => step(event.key === "j" ? 1 : -1)],
  [["Esc"], "back", back],
  [["t"], "light or dark", switchTheme],
]);
addEventListener("hashchange", () => {
  follow();
  scrollTo(0, 0);
});
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width && page === "overview") drawOverview();
  width = innerWidth;
});
follow();
