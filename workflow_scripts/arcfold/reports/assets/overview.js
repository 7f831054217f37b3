// The first page: what the study shows, and the charts.

import { around, bars, linear, scatter, ticks } from "./charts.js";
import { configurations, countOutcomes, isSingle, labelOf, labels, mean, outcomes, summary, tasks } from "./data.js";
import { el, find, findAll, name, svg } from "./dom.js";
import { duration, percent, plural, points, tick, unitOf } from "./format.js";
import { shownConfigurations } from "./table.js";

/** Draws what depends on the rows of the table and on the width of the page. */
export function drawOverview() {
  const shown = shownConfigurations();
  drawFindings(shown);
  if (find("#cost-chart")) {
    drawCost(shown);
    drawOracle(shown);
  }
  drawTime(shown);
  drawMisses(shown);
  drawSizes();
}

export function setUpOverview() {
  const select = find("#sizes-chart select");
  select.append(...configurations.map((each, number) => el("option", { value: number }, each.name)));
  find("#sizes-chart .of").hidden = isSingle;
  select.addEventListener("change", drawSizes);
  pointTogether();
}

/** What stands for a configuration is marked in all charts and in the table when one is pointed at. */
function pointTogether() {
  const page = find("#overview");
  const mark = (event) => {
    const target = event.target.closest("[data-configuration]");
    const number = target && page.contains(target) ? target.dataset.configuration : null;
    for (const each of findAll("[data-configuration]", page)) {
      const row = each.tagName === "TBODY" ? find(".configuration", each) : each;
      row.classList.toggle("hot", each.dataset.configuration === number);
    }
    for (const plot of findAll(".plot", page)) plot.classList.toggle("pointing", number !== null);
  };
  for (const kind of ["pointerover", "focusin"]) page.addEventListener(kind, mark);
  page.addEventListener("pointerleave", mark);
}

/** Differences with their intervals, on one scale; those with the base first. */
function drawFindings(shown) {
  const figure = find("#findings");
  if (!figure) return;
  const names = new Set(shown.map((number) => configurations[number].name));
  const pairs = summary.pairs.filter((pair) => names.has(pair.a) && names.has(pair.b));
  const withBase = pairs.filter((pair) => pair.a === summary.base || pair.b === summary.base);
  const others = pairs.filter((pair) => !withBase.includes(pair));
  const ends = pairs.flatMap((pair) => [...pair.interval, -pair.detectable, pair.detectable]);
  const domain = around([...ends, 0], 0.05);
  figure.replaceChildren(
    ...(withBase.length ? [list(withBase, domain)] : []),
    ...(others.length
      ? [
        withBase.length
          ? el("details", {}, el("summary", {}, plural(others.length, "more pair")), list(others, domain))
          : list(others, domain),
      ]
      : []),
    el(
      "figcaption",
      {},
      "Difference of the scores in points, with its 95 % interval. Grey: too small to have been seen with this many " +
        "tasks and seeds (power 80 %). A verdict allows for all pairs at once (Holm).",
    ),
  );
}

const FOREST = 300;

function list(pairs, domain) {
  const scale = linear(domain, [6, FOREST - 6]);
  return el(
    "ul",
    { class: "findings" },
    el(
      "li",
      { class: "axis-row", "aria-hidden": "true" },
      el("span"),
      svg(
        "svg",
        { viewBox: `0 0 ${FOREST} 16`, width: "100%" },
        ticks(...domain, 4).map((value) =>
          svg(
            "text",
            { x: scale(value), y: 12, "text-anchor": "middle" },
            points(value, Number.isInteger(value) ? 0 : 1),
          )
        ),
      ),
      el("span"),
    ),
    pairs.map((pair) => {
      const says = `${points(pair.difference)} points, 95 % interval ${points(pair.interval[0])} to ${
        points(pair.interval[1])
      }`;
      return el(
        "li",
        {},
        el(
          "a",
          { class: "who", href: `#/compare/${encodeURIComponent(pair.a)}/${encodeURIComponent(pair.b)}` },
          name(labelOf(pair.a)),
          el("small", {}, "against ", name(labelOf(pair.b))),
        ),
        svg(
          "svg",
          {
            class: `pair ${pair.verdict}`,
            viewBox: `0 0 ${FOREST} 24`,
            width: "100%",
            role: "img",
            "aria-label": says,
          },
          svg("title", {}, says),
          svg("rect", {
            class: "blind",
            x: scale(-pair.detectable),
            width: scale(pair.detectable) - scale(-pair.detectable),
            y: 0,
            height: 24,
          }),
          svg("line", { class: "zero", x1: scale(0), x2: scale(0), y1: 0, y2: 24 }),
          svg("line", {
            class: "interval",
            x1: scale(pair.interval[0]),
            x2: scale(pair.interval[1]),
            y1: 12,
            y2: 12,
          }),
          svg("circle", { cx: scale(pair.difference), cy: 12, r: 5 }),
        ),
        el("p", { class: "sentence" }, pair.sentence),
      );
    }),
  );
}

function drawCost(shown) {
  const marks = shown
    .filter((number) => configurations[number].device_seconds)
    .map((number) => {
      const each = configurations[number];
      return {
        number,
        label: labels[number],
        base: each.name === summary.base,
        x: each.device_seconds,
        y: each.score.mean,
        interval: each.score.interval,
        seeds: seedsOf(each, (run) => [run.device_seconds?.total, run.score]),
        says: `${each.name}: score ${percent(each.score.mean)} % in ${duration(each.device_seconds)}`,
      };
    });
  const plot = find("#cost-chart .plot");
  if (!marks.length) {
    plot.replaceChildren(el("p", { class: "caption" }, "No run tells how long it took."));
    return;
  }
  const seconds = marks.map((mark) => mark.x);
  const log = Math.max(...seconds) > 6 * Math.min(...seconds);
  const best = frontier(marks);
  const unit = unitOf(Math.max(...seconds));
  scatter(plot, {
    marks,
    label: "Score against device time",
    x: {
      title: "device time",
      format: (value) => tick(value, unit),
      unit: unit[0],
      log,
      domain: log ? [Math.min(...seconds) / 1.3, Math.max(...seconds) * 1.5] : around(seconds, 0.12, 1),
    },
    y: { title: "score, %", format: String, domain: around(marks.flatMap((mark) => mark.interval), 0.06) },
    behind: (x, y) =>
      svg("path", {
        class: "frontier",
        d: best.map((mark, place) => `${place ? `H${x(mark.x)}V${y(mark.y)}` : `M${x(mark.x)} ${y(mark.y)}`}`).join(""),
      }),
  });
}

/** The marks that no cheaper one beats, the cheapest first. */
export function frontier(marks) {
  const made = [];
  for (const mark of [...marks].sort((a, b) => a.x - b.x || b.y - a.y)) {
    if (!made.length || mark.y > made.at(-1).y) made.push(mark);
  }
  return made;
}

function drawOracle(shown) {
  const marks = shown
    .filter((number) => configurations[number].oracle)
    .map((number) => {
      const each = configurations[number];
      return {
        number,
        label: labels[number],
        base: each.name === summary.base,
        x: each.score.mean,
        y: each.oracle.mean,
        interval: null,
        seeds: seedsOf(each, (run) => [run.score, run.oracle]),
        says: `${each.name}: oracle ${percent(each.oracle.mean)} %, score ${percent(each.score.mean)} %`,
      };
    });
  const plot = find("#oracle-chart .plot");
  if (!marks.length) {
    plot.replaceChildren(el("p", { class: "caption" }, "No run has an oracle."));
    return;
  }
  const all = marks.flatMap((mark) => [[mark.x, mark.y], ...mark.seeds]);
  const domainX = around(all.map(([x]) => x), 0.1, 2);
  const domainY = around(all.map(([, y]) => y), 0.1, 2);
  scatter(plot, {
    marks,
    label: "Oracle against score",
    x: { title: "score, %", format: String, domain: domainX },
    y: { title: "oracle, %", format: String, domain: domainY },
    behind: (x, y) => {
      const [from, to] = [Math.max(domainX[0], domainY[0]), Math.min(domainX[1], domainY[1])];
      return from < to ? svg("line", { class: "diagonal", x1: x(from), y1: y(from), x2: x(to), y2: y(to) }) : null;
    },
  });
}

/** A dot for each seed where there are several and both figures are known. */
function seedsOf(configuration, figures) {
  const made = configuration.runs.map(figures).filter(([x, y]) => x !== undefined && x !== null && y !== null);
  return made.length > 1 ? made : [];
}

function drawTime(shown) {
  const plot = find("#time-chart .plot");
  const timed = shown.filter((number) => configurations[number].runs.some((run) => run.device_seconds));
  find("#time-chart").hidden = !timed.length;
  if (!timed.length) return;
  const rows = timed.map((number) => {
    const known = configurations[number].runs.filter((run) => run.device_seconds);
    const segments = summary.stages.map((stage) => {
      const value = mean(known.map((run) => run.device_seconds[stage.key] ?? 0));
      return { ...stage, value, says: duration(value) };
    });
    const all = segments.reduce((sum, each) => sum + each.value, 0);
    return { label: labels[number], number, segments, after: duration(all), all };
  });
  bars(plot, {
    rows,
    total: Math.max(...rows.map((row) => row.all)),
    label: "Device time by stage",
    format: (segment) => segment.says,
  });
  if (isSingle) plot.append(laps(configurations[0]));
}

/** The steps of the jobs of a configuration's first run. */
function laps(configuration) {
  const run = configuration.runs[0];
  const rows = summary.stages.flatMap((stage) =>
    Object.entries(run.laps[stage.key] ?? {})
      .filter(([lap, seconds]) => lap !== "wait for a device" && seconds >= 0.05)
      .sort(([, a], [, b]) => b - a)
      .slice(0, 4)
      .map(([lap, seconds]) =>
        el("tr", {}, el("td", {}, stage.name), el("td", {}, lap), el("td", { class: "number" }, duration(seconds)))
      )
  );
  return el(
    "details",
    { open: true },
    el("summary", {}, `Steps of the jobs of ${run.run}`),
    el("table", { class: "laps" }, el("tbody", {}, rows)),
  );
}

function drawMisses(shown) {
  if (!find("#misses-chart")) return;
  const rows = shown.map((number) => {
    const counts = countOutcomes(configurations[number].runs);
    return rowOf(labels[number], number, counts);
  });
  stacked(find("#misses-chart .plot"), rows, "What became of the outputs");
}

const CLASSES = [5, 10, 15, 20, 30].map((side) => side * side);

/** The class of sizes of an output; the score file has the same. */
export function classOf([rows, columns]) {
  return CLASSES.findIndex((cells) => rows * columns <= cells);
}

function drawSizes() {
  const chosen = configurations[Number(find("#sizes-chart select").value)];
  const all = rowOf("all sizes", null, countOutcomes(chosen.runs));
  const rows = CLASSES.map((cells, place) => {
    const counts = countOutcomes(chosen.runs, (task, output) => classOf(tasks[task].sizes[output]) === place);
    const from = place ? CLASSES[place - 1] + 1 : 1;
    return rowOf(`${from}–${cells} cells`, null, counts);
  }).filter((row) => row.all);
  stacked(find("#sizes-chart .plot"), [all, ...rows], `What became of the outputs of ${chosen.name} by their size`);
}

function rowOf(words, number, counts) {
  const all = counts.reduce((sum, each) => sum + each.n, 0);
  const segments = counts.map(({ key, n }, place) => {
    const value = all ? (100 * n) / all : 0;
    return { key, name: outcomes[place].name, value, says: `${percent(value, 1)} %` };
  });
  return { label: words, number, segments, after: plural(all, "output"), all };
}

function stacked(plot, rows, words) {
  bars(plot, { rows, total: 100, label: words, format: (segment) => percent(segment.value, 0) });
}
