// The page of a task: demonstrations, the truth, and who found what in which view.

import { openTask, outcomes, outcomesOf, runLabel, runs, summary, tasks } from "./data.js";
import { el, find, name } from "./dom.js";
import { difference, panel } from "./grids.js";
import { plural, probability, signed } from "./format.js";
import { link, shownTasks } from "./matrix.js";

const LETTERS = "ABCDEFGHIJ";
let opened = 0;

/** The number of a task by its id; -1 for one that is not there. */
export function numberOf(id) {
  return tasks.findIndex((task) => task.id === id);
}

/** The task that stands `step` places on in the order of the matrix. */
export function neighbour(number, step) {
  const order = shownTasks();
  const place = order.indexOf(number);
  return order[(place + step + order.length) % order.length];
}

export async function drawTask(number) {
  const page = find("#task");
  const call = (opened += 1);
  page.replaceChildren(head(number));
  try {
    const task = await openTask(number);
    if (call === opened) page.replaceChildren(head(number), ...content(task, number));
  } catch (error) {
    page.append(
      el("p", { class: "note warning" }, `This browser cannot unpack the task (${error.message}); a newer one can.`),
    );
  }
}

function head(number) {
  const solved = runs.filter((run) => run.outcomes[number].replaceAll("0", "") === "").length;
  return el(
    "div",
    { class: "task-head" },
    el("h1", { class: "mono" }, name(tasks[number].id)),
    el("span", { class: solved ? "badge good" : "badge" }, `solved by ${solved} of ${plural(runs.length, "run")}`),
    el(
      "span",
      { class: "steps" },
      el("a", { class: "button", href: link(neighbour(number, -1)), title: "the one before (k)" }, "← before"),
      el("a", { class: "button", href: "#/tasks", title: "all tasks (Esc)" }, "all"),
      el("a", { class: "button", href: link(neighbour(number, 1)), title: "the next one (j)" }, "next →"),
    ),
  );
}

function content(task, number) {
  return [
    el(
      "section",
      { class: "block", "aria-label": "Demonstrations" },
      el("h2", {}, "Demonstrations"),
      el(
        "div",
        { class: "pairs" },
        task.train.map(([input, output], place) =>
          el(
            "div",
            { class: "pair-of" },
            panel(`input ${place + 1}`, input, 130),
            el("span", { class: "arrow", "aria-hidden": "true" }, "→"),
            panel(`output ${place + 1}`, output, 130),
          )
        ),
      ),
    ),
    ...task.test.map((test, place) => output(task, test, place, number)),
  ];
}

function output(task, test, place, number) {
  const many = task.test.length > 1 ? ` ${place + 1}` : "";
  const order = byUse(test);
  const letter = new Map(order.map((candidate, at) => [candidate, LETTERS[at]]));
  const views = el("div", { class: "block" });
  const table = whoFoundWhat(
    test,
    order,
    letter,
    place,
    number,
    (run) => views.replaceChildren(...viewsOf(task, test, order, letter, run)),
  );
  return el(
    "section",
    { class: "block", "aria-label": `Test${many}` },
    el("h2", {}, `Test${many}`),
    el(
      "div",
      { class: "pairs" },
      el(
        "div",
        { class: "pair-of" },
        panel("input", test.input, 220),
        el("span", { class: "arrow", "aria-hidden": "true" }, "→"),
        test.output
          ? panel("right output", test.output, 220, "right")
          : el("p", { class: "caption" }, "no output is known"),
      ),
    ),
    el("h3", {}, "Candidates"),
    order.length
      ? el("div", { class: "candidates" }, order.map((candidate) => card(test, candidate, letter)))
      : el("p", { class: "caption" }, "No run found any."),
    test.more
      ? el(
        "p",
        { class: "caption" },
        `${plural(test.more, "more candidate")} over all runs, which stand in their files.`,
      )
      : null,
    order.length ? table : null,
    views,
  );
}

/** The candidates, those first that are attempts of most runs, then those that most runs found. */
function byUse(test) {
  const use = test.candidates.map((_, candidate) => {
    const found = test.findings.filter((each) => each.candidate === candidate);
    return [found.filter((each) => each.rank <= 2).length, found.length, -Math.min(...found.map((each) => each.rank))];
  });
  return test.candidates
    .map((_, candidate) => candidate)
    .sort((a, b) => use[b][0] - use[a][0] || use[b][1] - use[a][1] || use[b][2] - use[a][2]);
}

function card(test, candidate, letter) {
  const right = test.candidates[candidate] === test.output;
  const found = test.findings.filter((each) => each.candidate === candidate);
  const attempts = found.filter((each) => each.rank <= 2).length;
  const words = el(
    "span",
    {},
    el("span", { class: `letter${right ? " right" : ""}` }, letter.get(candidate)),
    right ? " right, " : " ",
    runs.length > 1
      ? `attempt in ${attempts} of ${plural(runs.length, "run")}, found in ${found.length}`
      : attempts
      ? `attempt ${found[0].rank}`
      : `rank ${found[0].rank}`,
    right || !test.output ? null : [el("br"), difference(test.candidates[candidate], test.output)],
  );
  const frame = right ? "right" : attempts ? "tried" : "";
  return panel(words, test.candidates[candidate], 150, frame, right ? null : test.output);
}

/** A row a run, a column a candidate; a click shows the views of the run. */
function whoFoundWhat(test, order, letter, place, number, choose) {
  const known = new Map(test.findings.map((each) => [`${each.run}/${each.candidate}`, each]));
  const withFindings = [...new Set(test.findings.map((each) => each.run))].sort((a, b) => a - b);
  const rows = withFindings.map((run) => {
    const outcome = outcomesOf(runs[run], number)[place];
    const row = el(
      "tr",
      { tabindex: 0, "data-run": run },
      el("th", { scope: "row" }, name(runLabel(run))),
      el(
        "td",
        {},
        el(
          "span",
          { class: outcome === "correct" ? "badge good" : "badge" },
          outcomes.find((each) => each.key === outcome).name,
        ),
      ),
      order.map((candidate) => cellOf(known.get(`${run}/${candidate}`))),
      el("td", { class: "number" }, test.counts[run] === undefined ? "–" : test.counts[run]),
    );
    const pick = () => {
      for (const each of row.parentElement.rows) each.classList.toggle("chosen", each === row);
      choose(run);
    };
    row.addEventListener("click", pick);
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick();
      }
    });
    return row;
  });
  const made = el(
    "div",
    { class: "block" },
    runs.length > 1 ? el("h3", {}, "Who found what") : null,
    el(
      "div",
      { class: "scroll tall", hidden: runs.length === 1 },
      el(
        "table",
        { class: "findings-table" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, "Run"),
            el("th", { scope: "col" }, "Outcome"),
            order.map((candidate) =>
              el(
                "th",
                { scope: "col" },
                el(
                  "span",
                  { class: `letter${test.candidates[candidate] === test.output ? " right" : ""}` },
                  letter.get(candidate),
                ),
              )
            ),
            el("th", { scope: "col", class: "number" }, "Candidates"),
          ),
        ),
        el("tbody", {}, rows),
      ),
    ),
    runs.length > 1
      ? el(
        "p",
        { class: "caption" },
        "Rank, mean probability over the scoring views, and in how many of the searched views it was found. A row shows " +
          "the views of its run.",
      )
      : null,
  );
  queueMicrotask(() => rows[0]?.click());
  return made;
}

function cellOf(finding) {
  if (!finding) return el("td", { class: "caption" }, "·");
  if (!finding.scored.length) return el("td", {}, `attempt ${finding.rank}`);
  const average = finding.scored.reduce((sum, value) => sum + value, 0) / finding.scored.length;
  const hits = finding.found.filter((value) => value !== null).length;
  return el(
    "td",
    {},
    el("small", { class: "caption" }, `#${finding.rank} `),
    heat(probability(average), average, `rank ${finding.rank}, value ${signed(finding.value, 3)}`),
    el("small", { class: "caption" }, ` ${hits}/${finding.found.length}`),
  );
}

/** Words on a ground that is the darker, the more probable. */
function heat(words, logarithm, title) {
  const share = Math.exp(logarithm);
  return el(
    "span",
    {
      class: `heat${share > 0.6 ? " strong" : ""}`,
      style: { "--heat": `${Math.round(90 * share)}%`, padding: "1px 5px" },
      title,
    },
    words,
  );
}

/** A row a candidate, a column a view: first those that were searched, then those of the scoring. */
function viewsOf(task, test, order, letter, run) {
  const own = order
    .map((candidate) => test.findings.find((each) => each.run === run && each.candidate === candidate))
    .filter(Boolean)
    .sort((a, b) => a.rank - b.rank);
  const first = own[0];
  if (!first || !first.scored.length) {
    return [el("p", { class: "caption" }, "Nothing is known of how its attempts were found.")];
  }
  const [searched, scored] = task.views[task.runs[run]] ?? ["", ""];
  const heads = (count, symmetries, gap) =>
    Array.from(
      { length: count },
      (_, view) =>
        el("th", {
          scope: "col",
          class: gap && view === 0 ? "gap" : null,
          title: symmetries[view] ? summary.symmetries[symmetries[view]] : null,
        }, String(view + 1)),
    );
  return [
    el("h3", {}, "Probability in every view: ", name(runLabel(run))),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "views" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", {}),
            el("th", { colspan: first.found.length }, "searched views"),
            el("th", { colspan: first.scored.length, class: "gap" }, "scoring views"),
            el("th", { class: "gap" }, ""),
          ),
          el(
            "tr",
            {},
            el("th", { scope: "col" }, "Rank"),
            heads(first.found.length, searched, false),
            heads(first.scored.length, scored, true),
            el("th", { scope: "col", class: "gap" }, "value"),
          ),
        ),
        el(
          "tbody",
          {},
          own.map((each) =>
            el(
              "tr",
              {},
              el(
                "th",
                { scope: "row" },
                `#${each.rank} `,
                el(
                  "span",
                  { class: `letter${test.candidates[each.candidate] === test.output ? " right" : ""}` },
                  letter.get(each.candidate),
                ),
              ),
              each.found.map((value, view) =>
                el(
                  "td",
                  {},
                  value === null
                    ? el("span", { class: "caption" }, "·")
                    : heat(probability(value), value, titleOf(searched, view)),
                )
              ),
              each.scored.map((value, view) =>
                el("td", { class: view === 0 ? "gap" : null }, heat(probability(value), value, titleOf(scored, view)))
              ),
              el("td", { class: "gap" }, signed(each.value, 3)),
            )
          ),
        ),
      ),
    ),
    el(
      "p",
      { class: "caption" },
      "Of the reply that the candidate is in each view. A point: the search did not find it there. Probabilities are " +
        "rounded to some percent of themselves; the value, by which candidates are ranked, is not.",
    ),
  ];
}

function titleOf(symmetries, view) {
  return symmetries[view] ? `view ${view + 1}: ${summary.symmetries[symmetries[view]]}` : `view ${view + 1}`;
}
