// Small charts as SVG: scatters with axes, and rows of stacked bars.

import { el, svg } from "./dom.js";

/** Round numbers between two, about as many as asked for. */
export function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
  const made = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-12); place += 1) {
    made.push(Number((place * step).toPrecision(12)));
  }
  return made;
}

/** Ticks of a logarithmic scale: 1, 2 and 5 of each power of ten; all digits where it is short. */
export function logarithmicTicks(low, high) {
  const digits = high / low < 8 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5];
  const made = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    for (const digit of digits) {
      const value = digit * 10 ** power;
      if (value >= low && value <= high) made.push(value);
    }
  }
  return made;
}

/** A scale from values to pixels. */
export function linear([low, high], [from, to]) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

export function logarithmic([low, high], range) {
  const scale = linear([Math.log(low), Math.log(high)], range);
  return (value) => scale(Math.log(value));
}

/** The ends of some values with a margin around them. */
export function around(values, margin = 0.08, least = 1) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((high - low) * margin, (least - (high - low)) / 2, 0);
  return [low - room, high + room];
}

const LEFT = 46;
const RIGHT = 18;
const TOP = 12;
const BOTTOM = 42;

/**
 * Dots with error bars on two axes.
 *
 * marks: [{x, y, interval, seeds: [[x, y]], label, says, base, number}]
 * x and y: {title, format, domain, log, unit}; ticks are round numbers of the unit
 * behind: called with the scales, gives what lies behind the dots
 */
export function scatter(plot, { marks, x, y, behind, label }) {
  const width = Math.max(280, plot.clientWidth);
  const height = Math.round(Math.min(360, Math.max(240, width * 0.66)));
  const scaleX = (x.log ? logarithmic : linear)(x.domain, [LEFT, width - RIGHT]);
  const scaleY = linear(y.domain, [height - BOTTOM, TOP]);
  const unit = x.unit ?? 1;
  const ends = x.domain.map((end) => end / unit);
  const ticksX = (x.log ? logarithmicTicks(...ends) : ticks(...ends, Math.max(2, Math.floor(width / 90)))).map((
    value,
  ) => value * unit);
  const ticksY = ticks(...y.domain, 5);
  const taken = [];
  plot.replaceChildren(
    svg(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label },
      svg(
        "g",
        { class: "axis", "aria-hidden": "true" },
        ticksY.map((value) => [
          svg("line", { x1: LEFT, x2: width - RIGHT, y1: scaleY(value), y2: scaleY(value) }),
          svg("text", { x: LEFT - 8, y: scaleY(value) + 4, "text-anchor": "end" }, y.format(value)),
        ]).flat(),
        thinned(ticksX, scaleX).map((value) =>
          svg("text", { x: scaleX(value), y: height - BOTTOM + 18, "text-anchor": "middle" }, x.format(value))
        ),
        svg("text", { x: width - RIGHT, y: height - 6, "text-anchor": "end", class: "title" }, `${x.title} →`),
        svg("text", { x: 0, y: 4, class: "title" }, `↑ ${y.title}`),
      ),
      behind(scaleX, scaleY),
      marks.map((mark) => drawMark(mark, scaleX, scaleY, placeOf(mark, scaleX, scaleY, width, marks, taken))),
    ),
  );
}

/** Ticks that are far enough from each other for their words. */
function thinned(values, scale) {
  const left = [];
  for (const value of values) if (!left.length || scale(value) - scale(left.at(-1)) > 46) left.push(value);
  return left;
}

/** Where the words of a dot stand without lying over others: [x, y, anchor], or null for nowhere. */
function placeOf(mark, scaleX, scaleY, width, marks, taken) {
  const [x, y] = [scaleX(mark.x), scaleY(mark.y)];
  const long = mark.label.length * 6.4 + 4;
  const places = [
    [x + 10, y + 4, "start"],
    [x - 10, y + 4, "end"],
    [x, y - 11, "middle"],
    [x, y + 19, "middle"],
  ];
  for (const [left, base, anchor] of places) {
    const from = anchor === "start" ? left : anchor === "end" ? left - long : left - long / 2;
    const box = [from, base - 11, from + long, base + 3];
    const free = box[0] >= LEFT - 6 && box[2] <= width && box[1] >= 0 &&
      !taken.some((other) => overlap(box, other)) &&
      !marks.some((other) => other !== mark && overlap(box, around4(scaleX(other.x), scaleY(other.y))));
    if (free) {
      taken.push(box);
      return [left, base, anchor];
    }
  }
  return null;
}

function around4(x, y) {
  return [x - 5, y - 5, x + 5, y + 5];
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

function drawMark(mark, scaleX, scaleY, place) {
  const [x, y] = [scaleX(mark.x), scaleY(mark.y)];
  return svg(
    "g",
    {
      class: `mark${mark.base ? " base" : ""}`,
      tabindex: 0,
      role: "img",
      "aria-label": mark.says,
      "data-configuration": mark.number,
    },
    svg("title", {}, mark.says),
    mark.seeds.map(([seedX, seedY]) =>
      svg("circle", { class: "seed-dot", r: 3, cx: scaleX(seedX), cy: scaleY(seedY) })
    ),
    mark.interval &&
      svg("line", { class: "error", x1: x, x2: x, y1: scaleY(mark.interval[0]), y2: scaleY(mark.interval[1]) }),
    svg("circle", { class: "dot", r: 5, cx: x, cy: y }),
    place && svg("text", { x: place[0], y: place[1], "text-anchor": place[2] }, mark.label),
  );
}

/**
 * Rows of bars in segments.
 *
 * rows: [{label, number, segments: [{key, name, value, says}], after}]; total: the length of a full row
 */
export function bars(plot, { rows, total, label, format }) {
  const width = Math.max(280, plot.clientWidth);
  const longest = Math.max(...rows.map((row) => row.label.length));
  const left = Math.min(width * 0.36, longest * 6.6 + 12);
  const right = Math.min(88, Math.max(...rows.map((row) => row.after.length)) * 6.6 + 12);
  const high = 22;
  const gap = 7;
  const scale = linear([0, total || 1], [0, width - left - right]);
  const height = rows.length * (high + gap);
  plot.replaceChildren(
    legend(rows),
    svg(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label },
      rows.map((row, place) => {
        const top = place * (high + gap);
        const fits = Math.max(3, Math.round((left - 12) / 6.6));
        const shown = row.label.length > fits ? `…${row.label.slice(1 - fits)}` : row.label;
        let begin = left;
        const says = `${row.label}: ${row.segments.map((each) => `${each.name} ${each.says}`).join(", ")}`;
        return svg(
          "g",
          { class: "row", role: "img", "aria-label": says, "data-configuration": row.number },
          svg("title", {}, says),
          svg("text", { class: "label", x: left - 10, y: top + 15, "text-anchor": "end" }, shown),
          row.segments.map((segment) => {
            const long = scale(segment.value);
            const at = begin;
            begin += long;
            const words = format(segment);
            return [
              svg("rect", {
                class: "segment",
                x: at,
                y: top,
                width: Math.max(0, long),
                height: high,
                style: { fill: `var(--${segment.key})` },
              }),
              long > words.length * 6.6 + 8
                ? svg("text", { class: "inside", x: at + long / 2, y: top + 15, "text-anchor": "middle" }, words)
                : null,
            ];
          }).flat(),
          svg("text", { x: begin + 8, y: top + 15 }, row.after),
        );
      }),
    ),
  );
}

function legend(rows) {
  const names = new Map(
    rows.flatMap((row) => row.segments.filter((each) => each.value > 0)).map((each) => [each.key, each.name]),
  );
  const order = rows.length ? rows[0].segments.map((each) => each.key) : [];
  const keys = [...names.keys()].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return el(
    "ul",
    { class: "legend", "aria-hidden": "true" },
    keys.map((key) =>
      el("li", {}, el("span", { class: "swatch", style: { background: `var(--${key})` } }), names.get(key))
    ),
  );
}
