// What the page knows: the summary at once, a task's data when it is opened.

export const summary = JSON.parse(document.getElementById("summary").textContent);
export const configurations = summary.configurations;
export const tasks = summary.tasks;
export const outcomes = summary.outcomes;

/** All runs, one after another: the numbers that packed tasks use. */
export const runs = configurations.flatMap((configuration, number) =>
  configuration.runs.map((run) => ({ ...run, configuration: number }))
);

/** The outcomes of a task's outputs in a run, as keys. */
export function outcomesOf(run, task) {
  return [...run.outcomes[task]].map((letter) => outcomes[parseInt(letter, 36)].key);
}

/** The share of a task's outputs that a run has right. */
export function shareOf(run, task) {
  const letters = run.outcomes[task];
  return [...letters].filter((letter) => letter === "0").length / letters.length;
}

export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The share of a task's outputs that a configuration has right, the mean over its runs. */
export function shareOfAll(configuration, task) {
  return mean(configuration.runs.map((run) => shareOf(run, task)));
}

/** Short names: of a configuration that is called after the base, what comes behind it. */
export const labels = configurations.map(({ name }) =>
  name.startsWith(`${summary.base}_`) ? name.slice(summary.base.length + 1) : name
);

/** What a configuration is called in pictures, by its name. */
export function labelOf(name) {
  const number = configurations.findIndex((each) => each.name === name);
  return number < 0 ? name : labels[number];
}

/** What a run is called in tables, by the number that packed tasks use. */
export function runLabel(number) {
  const run = runs[number];
  const words = labels[run.configuration];
  return configurations[run.configuration].runs.length > 1 && run.seed !== null ? `${words} · seed ${run.seed}` : words;
}

/** Whether the page is that of one run, perhaps with several seeds. */
export const isSingle = configurations.length === 1;

/** How many outputs of some runs had each outcome: [{key, n}], of all tasks or those that `wanted` takes. */
export function countOutcomes(some, wanted = () => true) {
  const counts = outcomes.map((outcome) => ({ key: outcome.key, n: 0 }));
  for (const run of some) {
    run.outcomes.forEach((letters, task) => {
      [...letters].forEach((letter, output) => {
        if (wanted(task, output)) counts[parseInt(letter, 36)].n += 1;
      });
    });
  }
  return counts;
}

const parsed = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
  else resolve();
});

/** A task as it was packed, with the log-probabilities put to its findings. */
export async function openTask(number) {
  await parsed; // the tasks stand at the end of a file that may be long
  const text = document.getElementById(`packed-${number}`).textContent;
  const bytes = await unpacked(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const task = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let place = 4 + length;
  const take = (count) => Array.from(bytes.subarray(place, place += count), logarithm);
  for (const test of task.test) {
    test.findings = test.findings.map(([run, candidate, rank, value, searched, scored]) => ({
      run,
      candidate,
      rank,
      value,
      found: take(searched),
      scored: take(scored),
    }));
  }
  return task;
}

async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The log-probability of a level; null where there is none. */
function logarithm(level) {
  if (level === 255) return null;
  return -(Math.exp(level / summary.levels.fineness) - 1) / summary.levels.bend;
}
