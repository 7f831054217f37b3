// Two configurations side by side: verdict, settings, code, environment, and the tasks that make the difference.

import { configurations, countOutcomes, outcomes, shareOfAll, summary, tasks } from "./data.js";
import { el, find, name } from "./dom.js";
import { duration, percent, plural, points, setting } from "./format.js";
import { link } from "./matrix.js";

/** a, b: names; what is not there is the base, or the first that is another */
export function drawCompare(a, b) {
  const there = (of) => configurations.find((each) => each.name === of);
  const second = there(b) ?? there(summary.base) ?? configurations[0];
  const first = there(a) ?? configurations.find((each) => each !== second) ?? second;
  const page = find("#compare");
  if (configurations.length < 2) {
    page.replaceChildren(el("h1", {}, "Compare"), ...about(first));
    return;
  }
  const go = () => {
    location.hash = `#/compare/${encodeURIComponent(selects[0].value)}/${encodeURIComponent(selects[1].value)}`;
  };
  const selects = [first, second].map((chosen, place) =>
    el(
      "select",
      { "aria-label": place ? "compared with" : "run", change: go },
      configurations.map((each) => el("option", { value: each.name, selected: each === chosen }, each.name)),
    )
  );
  page.replaceChildren(
    el(
      "div",
      { class: "bar" },
      el("h1", {}, "Compare"),
      el("div", { class: "controls" }, selects[0], " against ", selects[1]),
    ),
    ...verdict(first, second),
    differences("Figures", figures(first, second), first, second),
    differences("Settings", settings(first, second), first, second, true),
    differences("Code and environment", environment(first, second), first, second, true),
    wonAndLost(first, second),
  );
}

/** With one configuration there is nothing to compare: all that it was made with. */
function about(only) {
  const rows = [...settings(only, only), ...environment(only, only)];
  return [
    el("p", { class: "caption" }, "There is one configuration. What it was made with:"),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "facts" },
        el(
          "tbody",
          {},
          rows.map(([key, value]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, name(value)))),
        ),
      ),
    ),
  ];
}

function verdict(first, second) {
  const pair = summary.pairs.find((each) => each.a === first.name && each.b === second.name);
  const turned = summary.pairs.find((each) => each.a === second.name && each.b === first.name);
  const found = pair ?? turned;
  if (!found) return [];
  const sign = pair ? 1 : -1;
  const ends = found.interval.map((end) => sign * end).sort((a, b) => a - b);
  const fact = (words, value) => el("div", {}, el("dt", {}, words), el("dd", { class: "figure" }, value));
  return [
    el("p", { class: "note" }, found.sentence),
    el(
      "dl",
      { class: "hero" },
      fact("Difference", `${points(sign * found.difference)} points`),
      fact("95 % interval", `${points(ends[0])} to ${points(ends[1])}`),
      fact("Tasks won, lost", `${pair ? found.won : found.lost}, ${pair ? found.lost : found.won}`),
      fact("p (Holm)", found.p_holm < 0.001 ? "< 0.001" : found.p_holm.toFixed(3)),
      fact("Could be seen from", `${points(found.detectable)} points`),
    ),
  ];
}

function figures(first, second) {
  const of = (read) => [read(first), read(second)];
  const rows = [
    [
      "score, %",
      ...of((each) =>
        `${percent(each.score.mean)} (${percent(each.score.interval[0], 1)} to ${percent(each.score.interval[1], 1)})`
      ),
    ],
    ["seeds", ...of((each) => String(each.score.n))],
    ["outputs, %", ...of((each) => percent(each.score_outputs.mean))],
    ["oracle, %", ...of((each) => percent(each.oracle?.mean))],
    ["device time", ...of((each) => duration(each.device_seconds))],
    ["trained tokens", ...of((each) => (each.tokens === null ? "–" : Math.round(each.tokens).toLocaleString("en")))],
  ];
  const shares = [first, second].map((each) => {
    const counts = countOutcomes(each.runs);
    const all = counts.reduce((sum, { n }) => sum + n, 0);
    return counts.map(({ n }) => `${percent((100 * n) / all, 1)} %`);
  });
  outcomes.forEach((outcome, place) => {
    if (shares.some((each) => each[place] !== "0.0 %")) rows.push([outcome.name, shares[0][place], shares[1][place]]);
  });
  return rows;
}

function settings(first, second) {
  const keys = [...new Set([...Object.keys(first.all_settings), ...Object.keys(second.all_settings)])];
  return keys.map((key) => [key, setting(first.all_settings[key]), setting(second.all_settings[key])]);
}

/** What the results were computed with; of several seeds that differ all values. */
function environment(first, second) {
  const rows = [];
  const add = (key, read) => rows.push([key, all(first, read), all(second, read)]);
  add("code", (run) => run.code);
  add("commit", (run) => run.commit);
  add("scorer", (run) => run.scorer);
  add("base model", (run) => (run.model ? `${run.model.name} ${run.model.hash.slice(0, 12)}` : null));
  add("devices", (run) => run.devices.join(", "));
  add("platform", (run) => run.machine.platform);
  add("cores", (run) => run.machine.cores);
  const libraries = [...first.runs, ...second.runs].flatMap((run) => Object.keys(run.versions));
  for (const library of new Set(libraries)) add(library, (run) => run.versions[library]);
  return rows;
}

function all(configuration, read) {
  return [...new Set(configuration.runs.map((run) => setting(read(run))))].join("; ");
}

/** A table of what differs; what is equal is folded away if `fold` is set. */
function differences(title, rows, first, second, fold = false) {
  const differing = fold ? rows.filter(([, a, b]) => a !== b) : rows;
  const equal = fold ? rows.filter(([, a, b]) => a === b) : [];
  const line = ([key, a, b]) =>
    el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, name(a)), el("td", {}, name(b)));
  return el(
    "section",
    { class: "block", "aria-label": title },
    el("h2", {}, title),
    differing.length
      ? el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { class: "facts" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th"),
              el("th", { scope: "col" }, name(first.name)),
              el("th", { scope: "col" }, name(second.name)),
            ),
          ),
          el("tbody", {}, differing.map(line)),
        ),
      )
      : el("p", { class: "caption" }, "No difference."),
    equal.length
      ? el(
        "details",
        {},
        el("summary", {}, `${equal.length} equal`),
        el(
          "div",
          { class: "scroll" },
          el(
            "table",
            { class: "facts" },
            el(
              "tbody",
              {},
              equal.map(([key, a]) =>
                el("tr", { class: "equal" }, el("th", { scope: "row" }, key), el("td", {}, name(a)))
              ),
            ),
          ),
        ),
      )
      : null,
  );
}

function wonAndLost(first, second) {
  const gaps = tasks.map((_, task) => shareOfAll(first, task) - shareOfAll(second, task));
  const part = (title, sign) => {
    const those = gaps
      .map((gap, task) => [sign * gap, task])
      .filter(([gap]) => gap > 1e-9)
      .sort(([a], [b]) => b - a);
    return el(
      "div",
      { class: "block" },
      el("h3", {}, `${title}: ${plural(those.length, "task")}`),
      el(
        "div",
        { class: "chips" },
        those.map(([gap, task]) =>
          el(
            "a",
            { class: "button", href: link(task), title: `${percent(100 * gap, 0)} % of its outputs and seeds` },
            name(tasks[task].id),
          )
        ),
      ),
    );
  };
  return el(
    "section",
    { class: "block", "aria-label": "Tasks" },
    el("h2", {}, "Tasks"),
    el("p", { class: "caption" }, "By the mean over outputs and seeds, the largest differences first."),
    el("div", { class: "two" }, part("Won", 1), part("Lost", -1)),
  );
}
