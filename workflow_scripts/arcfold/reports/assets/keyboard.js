// Keys: everything that a mouse reaches.

import { el, find } from "./dom.js";

/** keys: [[keys], what they do, action(event)]; shows them under `?` */
export function setUpKeys(keys) {
  const help = find("#help");
  const all = [...keys, [["?"], "these keys", () => help.showModal()]];
  for (const [names, words] of all) {
    const marks = names.flatMap((key, place) => [place ? " " : "", el("kbd", {}, key)]);
    find(".keys").append(el("dt", {}, marks), el("dd", {}, words));
  }
  find("#keys").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const typing = event.target.matches("input, select, textarea");
    if (typing && event.key !== "Escape") return;
    if (typing) {
      event.target.blur();
      return;
    }
    const found = all.find(([names]) => names.includes(event.key === "Escape" ? "Esc" : event.key));
    if (found && found[2](event) !== false) event.preventDefault();
  });
}
