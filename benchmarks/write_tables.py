"""Writes the tables of the README and the docs from the records in docs/measured.

    python benchmarks/write_tables.py            writes them anew
    python benchmarks/write_tables.py --check    ends with status 1 if one is not current

A table stands in its page between two marks, and nothing between them is written by hand:

    <!-- table: scores -->
    <!-- end -->

`TABLES` has a function for each name. In docs/performance.md every table is followed by where its figures come
from: command, device, date. `benchmarks/record.py` makes the records.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (Path("README.md"), Path("docs/performance.md"), Path("docs/studies.md"), Path("docs/deadline.md"))
SOURCES = PAGES[1:]
"""The pages whose tables say where their figures come from."""

BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NONE = "–"

Record = Mapping[str, Any]


class Records(dict[str, Record]):
    """The records by name; a missing one ends the program with a line. `used` has those that were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__({path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")})
        self.used: dict[str, Record] = {}

    def __getitem__(self, name: str) -> Record:
        if name not in self:
            sys.exit(f"error: docs/measured/{name}.json: no such record, expected one (benchmarks/record.py makes it)")
        self.used[name] = super().__getitem__(name)
        return self.used[name]

    def figures(self, name: str) -> Mapping[str, Any]:
        figures: Mapping[str, Any] = self[name]["figures"]
        return figures

    def seeds(self, run: str) -> dict[int, Mapping[str, Any]]:
        """The scores of a run with each seed that was measured."""
        matches = [re.fullmatch(rf"score_{run}(?:-seed(\d+))?", name) for name in self]
        found = sorted((int(match[1] or 0), match[0]) for match in matches if match)
        return {seed: self.figures(name) for seed, name in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    for page in PAGES:
        before = (ROOT / page).read_text(encoding="utf-8")
        after = with_tables(before, ROOT / "docs" / "measured", sources=page in SOURCES)
        if check and after != before:
            sys.exit(f"error: {page}: a table is not what docs/measured says, expected the output of `make tables`")
        if after != before:
            (ROOT / page).write_text(after, encoding="utf-8")
            print(f"written: {page}")


def with_tables(text: str, measured: Path, *, sources: bool) -> str:
    """The page with every table made anew."""

    def block(match: re.Match[str]) -> str:
        records = Records(measured)
        if match["name"] not in TABLES:
            sys.exit(f"error: table {match['name']}: unknown, expected one of {', '.join(TABLES)}")
        made = TABLES[match["name"]](records)
        return f"{match[1]}{made}\n{_sources(records.used) if sources else ''}{match[3]}"

    return BLOCK.sub(block, text)


def _sources(records: Mapping[str, Record]) -> str:
    """The commands that figures come from, a line for each device and day."""
    lines: dict[str, list[str]] = {}
    for record in records.values():
        told = [record["device"], f"torch {record['versions'].get('torch', NONE)}", record["date"]]
        told += ["copied from an earlier log, to be measured again"] if record.get("provisional") else []
        commands = lines.setdefault(", ".join(told), [])
        if (command := f"`{record['command']}`") not in commands:
            commands.append(command)
    return "\n" + "".join(f"- {where}: {', '.join(commands)}\n" for where, commands in lines.items())


# --- words ----------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure with its unit; a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}{unit}"


def percent(value: float | None, digits: int = 2) -> str:
    return number(value, digits, " %")


def duration(seconds: float | None) -> str:
    """Seconds in words: 59.3 s, 6 min 29 s."""
    if seconds is None or seconds < 60:
        return number(seconds, 1 if (seconds or 0) < 10 or seconds != round(seconds or 0) else 0, " s")
    return f"{round(seconds) // 60} min {round(seconds) % 60} s"


def spread(values: Sequence[float]) -> str:
    """The mean, and with several values the lowest and the highest."""
    return f"{mean(values):.1f}" + (f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else "")


def in_words(names: Sequence[str]) -> str:
    """Names as a sentence has them; "none" where there are none."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names or ["none"])


# --- tables ---------------------------------------------------------------------------------------


def reach(records: Records) -> str:
    """Ours beside others, and who is ahead."""
    others = records["published"]["figures"]["models"]
    rows = [
        [
            each["model"], each["parameters"], each["pretraining"], number(each["arc1"]), number(each["arc2"]),
            f"[{each['source']}]({each['url']})",
        ]
        for each in others
    ]  # fmt: skip
    ours = {
        f"arc{n}": [seed["score"] for seed in records.seeds(f"arc{n}_evaluation_thorough").values()] for n in (1, 2)
    }
    first, present = records.figures("base_15m_first"), records.figures("base_15m")
    here = "[measured here](docs/performance.md)"
    rows.append(["**arcfold**, first model", *_cost(first), *map(spread, ours.values()), here])
    rows.append(["**arcfold**", *_cost(present), "not yet", "not yet", here])
    made = table(["model", "parameters", "pretraining", "ARC-AGI-1 %", "ARC-AGI-2 %", "source"], rows)
    ahead = {
        key: [each["model"].partition(" ")[0] for each in others if (each[key] or 0) > mean(values)]
        for key, values in ours.items()
    }
    said = [f"{in_words(names)} on ARC-AGI-{key.removeprefix('arc')}" for key, names in ahead.items()]
    return f"{made}\n\nAhead of arcfold's first model are {', '.join(said)}."


def _cost(base: Mapping[str, Any]) -> list[str]:
    """Size of a base model, and what its pretraining took."""
    on = " and ".join(map(str, base["devices"]))
    hours = f"{number(base['gpu_hours'])} H100-hours ({base['seconds'] / 60:.0f} min on {on})"
    return [f"{base['parameters'] / 1e6:.0f} M", hours]


def commands(records: Records) -> str:
    """The two commands of the README."""
    score, test = records.figures("score_8folds"), records.figures("make_test")
    times = [
        f"{duration(each['command_seconds'])}; {duration(each['first_command_seconds'])} with the installation"
        for each in (score, test)
    ]
    made = f"the score of 16 ARC-AGI-1 evaluation tasks: {percent(score['score'], 1)}"
    return table(
        ["command", "makes", "on two CPU cores"],
        [
            ["`make results/score_8folds.json`", made, times[0]],
            ["`make test`", "every check and test", times[1]],
        ],
    )


def scores(records: Records) -> str:
    """The runs with the scores that the docs quote, each seed of them, and the mean of several."""
    rows = []
    runs = [f"arc{n}_evaluation_{name}" for name in ("thorough", "8folds_16views") for n in (1, 2)]
    for run in ("8folds", "arc1_evaluation_per_task", *runs):
        seeds = records.seeds(run)
        for seed, each in sorted(seeds.items()):
            shares = [percent(each.get(key)) for key in ("score", "score_outputs", "oracle")]
            cost = [duration(each.get("command_seconds")), number(each.get("peak_host_mib"), 0, " MiB")]
            rows.append([f"`{run}`", str(seed), str(each["n_tasks"]), *shares, *cost])
        if len(seeds) > 1:
            average = percent(mean(each["score"] for each in seeds.values()))
            rows.append([f"`{run}`", "mean", "", average, *[""] * 4])
    head = ["run", "seed", "tasks", "score", "of the outputs", "oracle", "whole command", "largest process"]
    return table(head, rows)


def gpu_seconds(records: Records) -> str:
    """One GPU's seconds, all folds added up."""
    rows = []
    for number_of_arc in (1, 2):
        run = f"arc{number_of_arc}_evaluation_8folds_16views"
        each = records.figures(f"score_{run}")
        work, inputs = each["work_seconds"], each["n_outputs"]
        steps = [number(work[step], 1, " s") for step in ("training", "search", "rescoring")]
        per_input = [number(total / inputs, 2, " s") for total in (sum(work.values()), each["process_seconds"])]
        rows.append([f"`{run}`", str(inputs), *steps, *per_input])
    head = ["run", "test inputs", "training", "search", "rescoring", "a test input", "with the start of processes"]
    return table(head, rows)


def four_gpus(records: Records) -> str:
    """One run on four devices, and on one where that was measured."""
    names = {n: f"arc1_evaluation_8folds_gpu{n}" for n in (4, 1)}
    made = {n: records.figures(name) for n, name in names.items() if n == 4 or name in records}
    labels = {"seconds": "first lease to last result", "command_seconds": "the whole command"}
    labels |= {"startup_seconds": "start of the GPU processes, added up"}
    rows = []
    for key, label in labels.items():
        values = [each[key] for each in made.values()]
        ratio = [number(values[1] / values[0], 2, " ×") if key != "startup_seconds" else ""] if len(made) > 1 else []
        rows.append([label, *(number(value, 1, " s") for value in values), *ratio])
    rows.append(["score", *(percent(each["score"]) for each in made.values()), *([""] if len(made) > 1 else [])])
    return table(["", *(f"`gpu={n}`" for n in made), *(["ratio"] if len(made) > 1 else [])], rows)


def workers(records: Records) -> str:
    """Whole commands without workers and with them."""
    rows = [
        [
            f"`{row['target']}`",
            str(row["gpus"]),
            number(row["before"], 1, " s"),
            number(row["first"], 1, " s"),
            number(row["again"], 1, " s"),
            row["note"],
        ]
        for row in records.figures("workers")["rows"]
    ]
    launch, memory = records.figures("workers")["launch_seconds"], records.figures("workers")["host_mib"]
    told = table(("target", "GPUs", "before", "with workers", "again", "remarks"), rows)
    return (
        f"{told}\n\nFrom the {launch['of']}: median {launch['median']} s, at most {launch['largest']} s of"
        f" {launch['jobs']} jobs. Host memory of {memory['of']}: {memory['job_20']} MiB at job 20,"
        f" {memory['last']} MiB at job {memory['jobs']}."
    )


def dry_run(records: Records) -> str:
    """Dry runs of one task a fold, ours and a bare Snakefile's."""
    rows = [
        [
            str(row["folds"]),
            str(row["jobs"]),
            number(row["seconds"], 1, " s"),
            number(row["bare_seconds"], 1, " s"),
            number(row["ratio"], 2),
            f"{row['peak_mib']:.0f} MiB, bare {row['bare_peak_mib']:.0f} MiB",
        ]
        for row in records.figures("dry_run")["rows"]
    ]
    return table(("folds", "jobs", "processor time", "bare", "ratio", "largest process"), rows)


def pages(records: Records) -> str:
    """Size of the page of a large study, and how soon a browser shows it."""
    rows = []
    for name in ("report_page", "report_page_16"):
        each = records.figures(name)
        times = each["milliseconds"]
        rows.append(
            [
                f"{each['tasks']} tasks, {each['configurations']} configurations, {each['seeds']} seeds",
                str(each["views"]),
                number(each["mib"], 1, " MiB"),
                *(number(times[key] / 1000, 2, " s") for key in ("first_paint", "whole", "matrix", "task")),
            ]
        )
    return table(("study", "views", "page", "first paint", "all of it", "matrix of tasks", "a task"), rows)


def cut_runs(records: Records) -> str:
    """Scores of runs with a part of their time, short folds first and in the tasks' order; means over the seeds."""
    found = records.figures("cut_runs")["rows"]
    rows = []
    for run in dict.fromkeys(row["run"] for row in found):
        of = [row for row in found if row["run"] == run]
        full = mean(row["score"] for row in of if row["share"] == 1)
        seeds = len({row["seed"] for row in of})
        of_seeds = f"{seeds} seed{'s' if seeds > 1 else ''}"
        rows.append([f"`{run}`, {of_seeds}", "100 %", *[percent(full, 1)] * 2, *[percent(full, 1)] * 2])
        for share in sorted({row["share"] for row in of if row["share"] < 1}, reverse=True):

            def score(order: str, key: str, part: float = share, rows_of: Sequence[Any] = of) -> str:
                return percent(mean(r[key] for r in rows_of if (r["share"], r["order"]) == (part, order)), 1)

            cells = [score(order, "score") for order in ("short first", "by id")]
            cells += [score("short first", "interrupted"), score("by id", "interrupted_in_any_order")]
            rows.append(["", f"{100 * share:.0f} %", *cells])
    head = ["run", "time", "deadline, short first", "deadline, by id", "interrupted, short first"]
    return table([*head, "interrupted, in any order"], rows)


def simulated_comparisons(records: Records) -> str:
    """How often each kind of interval holds the truth in simulated runs."""
    head = ["tasks", "what a seed does to all", "seeds", "deviation of seeds", "bootstrap over tasks"]
    head += ["bootstrap over tasks and seeds", "used here", "of a score", "detectable is seen"]

    def held(found: Mapping[str, Any]) -> str:
        return f"{number(found['holds'])} ({number(found['width'])})"

    return table(
        head,
        (
            [
                row["kind"],
                row["seed_effect"],
                str(row["seeds"]),
                number(row["deviation_of_seeds"]),
                held(row["bootstrap_of_tasks"]),
                held(row["bootstrap_of_tasks_and_seeds"]),
                held(row["ours"]),
                number(row["score_holds"]),
                number(row["power"], 0),
            ]
            for row in records.figures("simulated_comparisons")["rows"]
        ),
    )


def search(records: Records) -> str:
    """Search and rescoring against the sequential references."""
    rows = []
    for name in ("search_gpu", "search"):
        each = records.figures(name)
        for one in each["search"]:
            compared = f"{one['replies_of_both']} replies of both"
            if one.get("largest_difference") is not None:
                compared += f", log-probabilities within {one['largest_difference']:.2g}"
            if one["replies_of_one"]:
                compared += f"; {one['replies_of_one']} of one, within {one['farthest']:.2g} of the threshold"
            rows.append([f"`{name}`", f"search, `min_prob` {one['min_prob']}", *_ratio(one), compared])
        if "rescoring" in each:
            scored = f"{each['rescoring']['scores']} scores"
            rows.append([f"`{name}`", "rescoring", *_ratio(each["rescoring"]), scored])
        if "both" in each:
            agree = "all replies agree" if each["agree"] else "not all replies agree"
            rows.append([f"`{name}`", "both", *_ratio(each["both"]), f"{agree}, {each['number_type']}"])
    made = table(["benchmark", "", "ours", "reference", "ratio", "compared"], rows)
    share = records.figures("search_gpu").get("kernel_share")
    return made + (f"\n\nKernels run during {percent(100 * share, 0)} of our search on the GPU." if share else "")


def _ratio(one: Mapping[str, Any]) -> list[str]:
    ratio = one["ratio"]
    seconds = [number(one["ours_seconds"], 2, " s"), number(one["reference_seconds"], 1, " s")]
    return [*seconds, number(ratio, 1 if ratio < 10 else 0, " ×")]


def _training(name: str) -> Callable[[Records], str]:
    names = {"packed": "packed", "unsloth": "Unsloth", "trl-defaults": "trl's defaults", "trl": "`backend: trl`"}

    def made(records: Records) -> str:
        figures = records.figures(name)
        ways = figures["ways"]
        rows = [
            [
                label,
                number(ways[way]["tokens_per_second"], 0),
                number(ways[way].get("packed_is_faster_by"), 1, " ×"),
                percent(ways[way].get("padding_percent"), 1),
                number(ways[way].get("seconds_to_first_step"), 1, " s"),
            ]
            for way, label in names.items()
            if way in ways
        ]
        said = f"The samples of fold 0 of `{figures['run']}`"
        if "tokens" in figures:
            said += f": {ways['packed']['steps']} steps, {figures['tokens'] / 1e6:.2f} M tokens"
        head = ["", "tokens/s", "packed is faster", "padding", "start of the process to the first step"]
        return f"{said}.\n\n{table(head, rows)}"

    return made


def large(records: Records) -> str:
    """The training of a model of 4.2 B parameters."""
    ways = records.figures("training_gpu_check")["4b"]
    rows = [
        [way, number(each["tflops"], 0), number(each["seconds_to_first_step"], 1, " s")] for way, each in ways.items()
    ]
    return table(["", "TFLOP/s at 4 N a token", "start of the process to the first step"], rows)


def attention(records: Records) -> str:
    """Attention there and back, 10¹² operations a second."""
    names = {
        "ours": "ours",
        "flash varlen, deterministic True": "flash, deterministic",
        "flash varlen, deterministic False": "flash, not deterministic",
        "sdpa CUDNN_ATTENTION": "cuDNN, not deterministic",
    }
    measured = records.figures("training_gpu_check")["attention"]
    rows = [
        [label, *(number(value, 0) for value in measured[name])] for name, label in names.items() if name in measured
    ]
    return table(["", "forward, TFLOP/s", "backward, TFLOP/s"], rows)


def start(records: Records) -> str:
    """From the start of a process to its first step."""
    names = {
        "embedded (first)": "embedded model, first process on a machine",
        "embedded (again)": "embedded model, later ones",
        "4b": "4.2 B parameters, files in the cache",
    }
    measured = records.figures("training_gpu_check")["start"]
    rows = [[label, number(measured[name], 1, " s")] for name, label in names.items() if name in measured]
    return table(["", "to the first step"], rows)


def backends(records: Records) -> str:
    """Losses and scores of all backends on the same samples."""
    words = {"none": "", "4bit": ", 4 bit", "fresh": "", "pretrained": ", from a pretrained adapter"}
    figures, rows = records.figures("backends"), []
    for row in figures["rows"]:
        name = f"{row['backend']}{words[row['quantization']]}{words[row['start']]}"
        losses = f"{row['first_loss']:.3f}, {row['last_loss']:.3f}"
        apart = [NONE if row["backend"] == "packed" else percent(100 * row[key], 1) for key in _APART]
        rows.append([name, losses, *apart, percent(row["score"], 1)])
    head = ["", "loss: first, mean of the last ten", "from packed: all steps", "first 20", "score"]
    return f"{figures['steps']} steps.\n\n{table(head, rows)}"


_APART = ("apart", "apart_at_first")

TABLES: dict[str, Callable[[Records], str]] = {
    "cut_runs": cut_runs,
    "simulated_comparisons": simulated_comparisons,
    "reach": reach,
    "commands": commands,
    "scores": scores,
    "gpu_seconds": gpu_seconds,
    "four_gpus": four_gpus,
    "workers": workers,
    "dry_run": dry_run,
    "pages": pages,
    "search": search,
    "training_gpu": _training("training_arc2_evaluation_8folds"),
    "training_cpu": _training("training"),
    "large": large,
    "attention": attention,
    "start": start,
    "backends": backends,
}


if __name__ == "__main__":
    main()
