// ARC's grids: one path a colour, so that a grid of 900 cells is ten elements.

import { summary } from "./data.js";
import { el, svg } from "./dom.js";

/** A grid as a picture. text: its rows, "012/345"; side: pixels of its longer side at most; right: what it should be */
export function grid(text, side = 150, right = null) {
  const rows = text.split("/");
  const [height, width] = [rows.length, rows[0].length];
  const cell = Math.max(4, Math.min(28, Math.floor(side / Math.max(height, width))));
  const paths = Array.from({ length: 10 }, () => "");
  rows.forEach((row, y) => {
    for (let x = 0; x < width;) {
      let end = x + 1;
      while (end < width && row[end] === row[x]) end += 1;
      paths[Number(row[x])] += `M${x} ${y}h${end - x}v1H${x}z`;
      x = end;
    }
  });
  let lines = "";
  for (let x = 1; x < width; x += 1) lines += `M${x} 0V${height}`;
  for (let y = 1; y < height; y += 1) lines += `M0 ${y}H${width}`;
  return svg(
    "svg",
    {
      class: "grid",
      role: "img",
      "aria-label": `grid of ${height} × ${width}: ${rows.join(", ")}`,
      viewBox: `0 0 ${width} ${height}`,
      width: width * cell,
      height: height * cell,
    },
    paths.map((path, colour) =>
      path && svg("path", { d: path, fill: summary.palette[colour], "shape-rendering": "crispEdges" })
    ).filter(Boolean),
    svg("path", { d: lines, class: "lines" }),
    right && svg("path", { d: wrongCells(rows, right.split("/")), class: "wrong" }),
  );
}

/** A mark in each cell that is another one in a grid of the same size. */
function wrongCells(rows, right) {
  if (!sameSize(rows, right)) return "";
  let path = "";
  rows.forEach((row, y) => {
    [...row].forEach((cell, x) => {
      if (cell !== right[y][x]) path += `M${x + 0.28} ${y + 0.28}l.44 .44m0-.44l-.44 .44`;
    });
  });
  return path;
}

function sameSize(rows, right) {
  return rows.length === right.length && rows[0].length === right[0].length;
}

/** How a grid differs from the right one, in words. */
export function difference(text, right) {
  const [rows, others] = [text.split("/"), right.split("/")];
  if (!sameSize(rows, others)) return `${rows.length} × ${rows[0].length}, not ${others.length} × ${others[0].length}`;
  const count = rows.reduce((sum, row, y) => sum + [...row].filter((cell, x) => cell !== others[y][x]).length, 0);
  return count ? `${count} ${count === 1 ? "cell differs" : "cells differ"}` : "";
}

/** A grid with words above it; frame: right or tried (and wrong); right: what it should be */
export function panel(words, text, side, frame = "", right = null) {
  return el("figure", { class: `panel ${frame}` }, el("figcaption", {}, words), grid(text, side, right));
}
