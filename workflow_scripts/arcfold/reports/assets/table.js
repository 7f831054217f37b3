// The table of runs: sorted by a click, filtered by words, exported as it is shown.

import { find, findAll } from "./dom.js";
import { configurations, summary } from "./data.js";
import { download, line } from "./export.js";

const table = find("#runs");
const bodies = () => findAll("tbody", table);

/** The numbers of the configurations that the filter leaves, in the order of the table. */
export function shownConfigurations() {
  return bodies()
    .filter((body) => !body.hidden)
    .map((body) => Number(body.dataset.configuration));
}

/** Makes the table obey; changed: called when other rows are shown */
export function setUpTable(changed) {
  findAll("thead th", table).forEach((head, column) => {
    find("button", head).addEventListener("click", () => {
      sort(head, column);
      changed();
    });
  });
  for (const body of bodies()) {
    const more = find(".more", body);
    const toggle = () => {
      const open = more.getAttribute("aria-expanded") !== "true";
      more.setAttribute("aria-expanded", open);
      for (const row of findAll(".seed", body)) row.hidden = !open;
    };
    find(".configuration", body).addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) toggle();
    });
    find(".configuration", body).addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target === event.currentTarget) toggle();
    });
  }
  const filter = find("#runs-filter");
  filter.addEventListener("input", () => {
    applyFilter(filter.value);
    changed();
  });
  find("#runs-export").addEventListener("click", () => download(`${summary.study}.csv`, csv()));
  applyFilter("");
}

/** Numbers fall at first, words rise; what has no value stays behind. */
function sort(head, column) {
  const numeric = head.dataset.key === "number";
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const direction = head.getAttribute("aria-sort") === first ? other : first;
  for (const each of findAll("thead th", table)) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const value = (body) => valueOf(find(".configuration", body).cells[column]);
  const made = bodies().map((body) => [value(body), body]);
  made.sort(([a], [b]) => {
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
    return sign * compare(a, b);
  });
  table.append(...made.map(([, body]) => body));
}

function valueOf(cell) {
  return cell.dataset.value ?? cell.textContent.trim();
}

function isMissing(value) {
  return value === "" || value === "–";
}

/** As numbers where both are some, else as words. */
function compare(a, b) {
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference;
}

/** Leaves the configurations of which every word of the text holds: a part of a name, or setting=value. */
function applyFilter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const body of bodies()) {
    const configuration = configurations[Number(body.dataset.configuration)];
    body.hidden = !words.every((word) => holds(configuration, word));
  }
  const count = shownConfigurations().length;
  find("#runs-count").textContent = count === configurations.length ? "" : `${count} of ${configurations.length}`;
}

function holds(configuration, word) {
  const [key, value] = word.split("=");
  if (value !== undefined) {
    return Object.entries(configuration.all_settings).some(
      ([name, of]) => name.toLowerCase().endsWith(key) && String(of).toLowerCase() === value,
    );
  }
  return configuration.runs.some((run) => run.run.toLowerCase().includes(word)) ||
    configuration.name.toLowerCase().includes(word);
}

/** A line a run: what the table shows of it, in plain numbers. */
function csv() {
  const heads = ["configuration", "run", "seed", ...summary.columns, "score", "score_outputs", "oracle"];
  const rows = shownConfigurations().flatMap((number) => {
    const configuration = configurations[number];
    return configuration.runs.map((run) => [
      configuration.name,
      run.run,
      run.seed,
      ...summary.columns.map((column) => configuration.all_settings[column]),
      run.score,
      run.score_outputs,
      run.oracle,
      run.device_seconds?.total,
      run.peak_host_mib,
      run.peak_device_mib,
      run.tokens,
      run.code,
      run.commit,
    ]);
  });
  const more = ["device_seconds", "peak_host_mib", "peak_device_mib", "tokens", "code", "commit"];
  return [[...heads, ...more], ...rows].map(line).join("");
}
