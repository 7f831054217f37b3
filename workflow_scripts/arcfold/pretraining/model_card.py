"""The model card of a base model: what it is, what it was trained on and how, what it can and has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FORMAT = (
    "A pair is `I` + the input's rows + `O` + the output's rows + `<eos>`; each row, the last one too, ends with "
    "`\\n`; a cell is its digit. A prompt is the demonstration pairs one after the other, then `I` + the test input "
    "+ `O`; the reply is the rows + `<eos>`. Ids: `0`–`9` are 0–9, `\\n` 10, `I` 11, `O` 12, `<eos>` 13, `<pad>` 14, "
    "`<unk>` 15."
)


_POSITIONS = (
    "**Positions.** A token has three: the number of its grid in the text, its row and its column, which turn the "
    "rotary frequencies in turn (the first by the grid, the second by the row, the third by the column, and so on). "
    "They follow from the tokens alone: `I` and `O` open a grid, markers stand at row 0 and column 0, the first row is "
    "1, and a row's `\\n` has the column behind its last cell."
)
_PROGRAMS = (
    "**What loads it.** The workflow that made it: training with `packed` and `trl`, search, rescoring. transformers "
    "behind `import arcfold` (`pip install .` in the workflow's folder, no remote code): then `AutoModelForCausalLM` "
    "loads it, `generate` works with and without a cache, and peft and trl train it. **What does not:** transformers "
    "alone, Unsloth, vLLM, llama.cpp and every other program that does not know the `model_type` `arcfold_qwen3`: they "
    "refuse it. Weights have the names and shapes of Qwen3: with `model_type` changed to `qwen3` they would load "
    "and compute nonsense. `AutoTokenizer` needs nothing but the tokenizer's files."
)


def card(name: str, report: Mapping[str, Any], corpora: Sequence[Mapping[str, Any]]) -> str:
    """The text of README.md.

    report: that of `arcfold.pretraining.run.train`, with its provenance
    corpora: what the shard.json of each corpus says, in the order of the mixture
    """
    shape, progress, batches = report["shape"], report["progress"], report["batches"]
    by_grids = shape["positions_by"] == "grids"
    parts = [
        f"# {name}: a small language model for ARC",
        f"A {'Qwen3' if by_grids else 'stock `Qwen3ForCausalLM`'} of {report['parameters']:,} parameters: "
        f"{shape['layers']} layers, width {shape['width']}, {shape['heads']} heads of {shape['head_size']}, "
        f"{shape['positions']} positions (RoPE theta {shape['rope_theta']:g}), 16 tokens. "
        + ("It " if by_grids else "It loads with `AutoModelForCausalLM` and `AutoTokenizer`, offline, and ")
        + "is meant to be adapted to a task before it is asked.",
        *((_POSITIONS, _PROGRAMS) if by_grids else ()),
        f"**Text format.** {_FORMAT}",
        f"**Training.** {progress['tokens']:,} tokens in {progress['steps']:,} steps and {progress['seconds']:,.0f} s, "
        f"{_devices(report)}. Each sample is one task in one of the 8 symmetries and one of the 10! colour "
        f"permutations, pairs in random order, up to {batches['longest']} tokens; loss on every output but the first"
        f"{_loss_on_inputs(report['training'])}.",
        "| corpus | weight | tasks | pairs | source |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(_row(corpus, report["mixture"]) for corpus in corpora),
        "**Not seen.** No ARC-AGI-1 evaluation task and no task that is new in ARC-AGI-2: every pair of every corpus "
        "was compared with theirs in all symmetries and colourings. Nor the development tasks: ARC-AGI-1 training "
        "tasks that hyperparameters are chosen on.",
        "**Held out, while training.** "
        + (_scores(progress["curve"]) or "Nothing was measured.")
        + _adapted(report.get("adapted", ())),
        f"`training.json` has the whole curve, all settings and the provenance; commit {_commit(report)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _loss_on_inputs(training: Mapping[str, Any]) -> str:
    weight = training.get("loss_on_inputs", 0)
    return f", and with weight {weight:g} on every input but the first" if weight else ""


def _devices(report: Mapping[str, Any]) -> str:
    device = report.get("provenance", {}).get("device", {})
    kind = device.get("name", "the CPU")
    count = report["devices"]
    return f"{count} × {kind}" if count > 1 else f"on {kind}"


def _row(corpus: Mapping[str, Any], mixture: Mapping[str, float]) -> str:
    made = corpus.get("provenance", {})
    settings = made.get("settings", {})
    source = next((f"{key} `{settings[key]}`" for key in ("url", "path", "dataset") if key in settings), "own families")
    if "archive" in made.get("inputs", {}):
        source += f", SHA-256 {made['inputs']['archive'][:16]}…"
    weight = mixture[corpus["corpus"]] / sum(mixture.values())
    return f"| {corpus['corpus']} | {weight:.1%} | {corpus['n_tasks']:,} | {corpus['n_pairs']:,} | {source} |"


def _scores(curve: Sequence[Mapping[str, Any]]) -> str:
    measured = [point["held_out"] for point in curve if "held_out" in point]
    if not measured:
        return ""
    return " ".join(
        f"{name}: loss {score['loss']:.3f}, {score['accuracy']:.1f} % of greedy answers right."
        for name, score in measured[-1].items()
    )


def _adapted(scores: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f" After {score['steps']} steps of full training on the demonstrations of {score['to']}: "
        f"{score['accuracy']:.1f} % right, {score['solved']:.1f} % of tasks in two of eight views or more."
        for score in scores
    )


def _commit(report: Mapping[str, Any]) -> str:
    return str(report.get("provenance", {}).get("git_commit"))
