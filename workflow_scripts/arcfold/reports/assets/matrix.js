// All tasks against all runs: what is solved, by how many seeds, and where seeds disagree.

import {
  configurations,
  isSingle,
  labels,
  mean,
  outcomes,
  outcomesOf,
  shareOf,
  shareOfAll,
  summary,
  tasks,
} from "./data.js";
import { el, find, findAll, name } from "./dom.js";
import { download, line } from "./export.js";
import { percent, plural } from "./format.js";

/** Share of right outputs over all runs: how easy a task is. */
const ease = tasks.map((_, task) => mean(configurations.map((each) => shareOfAll(each, task))));
const cells = tasks.map((task) => Math.max(...task.sizes.map(([rows, columns]) => rows * columns)));

/** Rows that are drawn before the reader sees any. */
const AT_ONCE = 60;

let shown = [];

/** The tasks in the order in which the matrix shows them. */
export function shownTasks() {
  return shown.length ? shown : tasks.map((_, task) => task);
}

export function setUpMatrix() {
  const select = find("#tasks-show");
  const choices = [["all", "all tasks"]];
  if (configurations.some((each) => each.runs.length > 1)) choices.push(["flips", "flips between seeds"]);
  if (configurations.length > 1) choices.push(["differ", "runs that differ"]);
  choices.push(["some", "solved by some run"], ["none", "solved by no run"]);
  for (const outcome of outcomes) {
    const there = configurations.some((each) =>
      each.runs.some((run) => tasks.some((_, task) => outcomesOf(run, task).includes(outcome.key)))
    );
    if (there && outcome.key !== "correct") choices.push([outcome.key, outcome.name]);
  }
  select.append(...choices.map(([value, words]) => el("option", { value }, words)));
  for (const id of ["#tasks-filter", "#tasks-show", "#tasks-order"]) find(id).addEventListener("input", drawMatrix);
  find("#tasks-export").addEventListener("click", () => download(`${summary.study}-tasks.csv`, csv()));
  find("#matrix").addEventListener("keydown", move);
  find("#tasks-legend").textContent =
    "A cell is a task in a run, a stripe a seed: green where its outputs are right, pale green where some are, else in " +
    "the pale colour of the reason. A corner marks a flip, seeds that disagree. Solved: mean over all runs. Arrow keys " +
    "move, Enter opens.";
  find("#tasks-colours").append(
    ...outcomes
      .filter((outcome) => outcome.key === "correct" || choices.some(([value]) => value === outcome.key))
      .map((outcome) =>
        el(
          "li",
          { title: outcome.means },
          el("span", {
            class: `swatch${outcome.key === "correct" ? "" : " pale"}`,
            style: { "--why": `var(--${outcome.key})` },
          }),
          outcome.name,
        )
      ),
  );
}

export function drawMatrix() {
  const text = find("#tasks-filter").value.trim().toLowerCase();
  const wanted = find("#tasks-show").value || "all";
  shown = ordered(find("#tasks-order").value).filter(
    (task) => tasks[task].id.toLowerCase().includes(text) && isWanted(task, wanted),
  );
  find("#tasks-count").textContent = shown.length === tasks.length
    ? plural(shown.length, "task")
    : `${shown.length} of ${tasks.length}`;
  find("#matrix").replaceChildren(
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Task"),
        el("th", { scope: "col" }, "Solved"),
        configurations.map((each, number) =>
          el(
            "th",
            { scope: "col", class: isSingle ? null : "turned", title: each.name },
            el("span", {}, name(labels[number])),
          )
        ),
        el("th", { class: "rest" }),
      ),
    ),
    el("tbody", {}, shown.slice(0, AT_ONCE).map(row)),
  );
  const first = find(".cell", find("#matrix"));
  if (first) first.tabIndex = 0;
  later(find("#matrix tbody"), AT_ONCE);
}

/** The rows that no screen shows at first, some at a time, so that the page obeys meanwhile. */
function later(body, from) {
  if (from >= shown.length) return;
  setTimeout(() => {
    if (!body.isConnected || !body.checkVisibility()) return; // drawn anew, now or when the page is opened again
    body.append(...shown.slice(from, from + AT_ONCE).map(row));
    later(body, from + AT_ONCE);
  });
}

function ordered(by) {
  const all = tasks.map((_, task) => task);
  const keys = {
    difficulty: (a, b) => ease[a] - ease[b],
    easy: (a, b) => ease[b] - ease[a],
    size: (a, b) => cells[b] - cells[a],
    id: () => 0,
  };
  return all.sort((a, b) => keys[by](a, b) || (tasks[a].id < tasks[b].id ? -1 : 1));
}

function isWanted(task, wanted) {
  const shares = () => configurations.map((each) => shareOfAll(each, task));
  switch (wanted) {
    case "all":
      return true;
    case "flips":
      return configurations.some((each) => flips(each, task));
    case "differ":
      return new Set(shares().map((share) => share.toFixed(6))).size > 1;
    case "some":
      return shares().some((share) => share === 1);
    case "none":
      return shares().every((share) => share === 0);
    default:
      return configurations.some((each) => each.runs.some((run) => outcomesOf(run, task).includes(wanted)));
  }
}

/** Whether seeds of a configuration disagree about a task. */
export function flips(configuration, task) {
  return new Set(configuration.runs.map((run) => run.outcomes[task].replace(/[^0]/g, "."))).size > 1;
}

function row(task) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("a", { href: link(task), class: "mono", tabindex: -1 }, name(tasks[task].id))),
    el("td", { class: "share" }, meter(ease[task]), percent(100 * ease[task], 0), " %"),
    configurations.map((each) => el("td", {}, cell(each, task))),
    el("td", { class: "rest caption" }, isSingle ? told(configurations[0].runs[0], task) : ""),
  );
}

export function link(task) {
  return `#/task/${encodeURIComponent(tasks[task].id)}`;
}

function meter(share) {
  return el("span", { class: "meter" }, el("span", { style: { width: `${100 * share}%` } }));
}

function cell(configuration, task) {
  const shares = configuration.runs.map((run) => shareOf(run, task));
  const flip = flips(configuration, task);
  const right = shares.filter((share) => share === 1).length;
  const says = `${tasks[task].id} in ${configuration.name}: ` +
    (shares.length > 1
      ? `solved by ${right} of ${plural(shares.length, "seed")}${flip ? ", a flip" : ""}`
      : told(configuration.runs[0], task));
  return el(
    "a",
    {
      class: `cell${flip ? " flip" : ""}`,
      href: link(task),
      tabindex: -1,
      title: says,
      "aria-label": says,
      style: { background: stripes(configuration.runs.map((run) => run.outcomes[task])) },
    },
  );
}

const made = new Map();

/** A stripe for each seed, as a background: thousands of elements less. */
function stripes(of) {
  const key = of.join();
  if (!made.has(key)) {
    const wide = 100 / of.length;
    const stops = of.map((letters, seed) => `${colour(letters)} ${seed * wide}% ${(seed + 1) * wide}%`);
    made.set(key, `linear-gradient(90deg, ${stops.join(", ")})`);
  }
  return made.get(key);
}

/** The colour of a task's outcomes in a run: solid where all are right, pale where some are, else the reason's, pale. */
function colour(letters) {
  const wrong = [...letters].find((letter) => letter !== "0");
  if (!wrong) return "var(--correct)";
  const key = letters.includes("0") ? "correct" : outcomes[parseInt(wrong, 36)].key;
  return `color-mix(in srgb, var(--${key}) ${key === "correct" ? 55 : 38}%, var(--surface))`;
}

/** What became of a task's outputs in a run, in words. */
function told(run, task) {
  return outcomesOf(run, task).map((key) => outcomes.find((each) => each.key === key).name).join(", ");
}

/** The arrow keys go from cell to cell; one of them is in the order of the tabulator. */
function move(event) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const here = event.target.closest(".cell");
  if (!here || !steps[event.key]) return;
  event.preventDefault();
  const [down, right] = steps[event.key];
  const place = here.parentElement;
  const rows = findAll("tbody tr", find("#matrix"));
  const next = rows[rows.indexOf(place.parentElement) + down]?.cells[place.cellIndex + right];
  const there = next && find(".cell", next);
  if (there) {
    here.tabIndex = -1;
    there.tabIndex = 0;
    there.focus();
  }
}

/** A line a task: the share that each run has right, and what became of its outputs. */
function csv() {
  const all = configurations.flatMap((each) => each.runs);
  const heads = ["task", "solved", ...all.map((run) => run.run)];
  const rows = shown.map((task) => [
    tasks[task].id,
    ease[task].toFixed(4),
    ...all.map((run) => outcomesOf(run, task).join(" ")),
  ]);
  return [heads, ...rows].map(line).join("");
}
