// Light or dark: the system's choice until the reader makes one.

const KEY = "arcfold-theme";

export function setUpTheme(button) {
  const kept = read();
  if (kept) document.documentElement.dataset.theme = kept;
  button.addEventListener("click", switchTheme);
}

export function switchTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem(KEY, document.documentElement.dataset.theme);
  } catch {
    // a page without a place of its own forgets it
  }
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
