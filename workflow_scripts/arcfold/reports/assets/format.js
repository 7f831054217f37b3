// Figures as a person reads them; formats.py says the same in the template.

export function percent(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** A difference with its sign. */
export function points(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

/** A figure that may be below zero. */
export function signed(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

/** In the two units that matter. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** The unit of a time axis that reaches so far: [seconds, name]. */
export function unitOf(seconds) {
  return seconds >= 2 * 3600 ? [3600, "h"] : seconds >= 2 * 60 ? [60, "min"] : [1, "s"];
}

/** A tick of a time axis. */
export function tick(seconds, [unit, name]) {
  return `${trimmed(seconds / unit)} ${name}`;
}

function trimmed(value) {
  return String(Number(value.toPrecision(3)));
}

/** A probability of a log-probability: in percent, or as a power of ten. */
export function probability(logarithm) {
  const value = Math.exp(logarithm);
  if (value >= 0.995) return "100 %";
  if (value >= 0.095) return `${(100 * value).toFixed(0)} %`;
  if (value >= 0.00095) return `${(100 * value).toPrecision(value >= 0.0095 ? 2 : 1)} %`;
  return `10${superscript(Math.round(logarithm / Math.LN10))}`;
}

function superscript(number) {
  return String(number).replace(/./g, (digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]));
}

/** A value of the config as one would write it there. */
export function setting(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(setting).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
