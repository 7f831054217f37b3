"""Test-time training: from the demonstrations of a fold to its LoRA.

Tasks, a base model and the config's section `training` come in (`adapt`); an adapter's folder with
`training.json` goes out. `samples` turns tasks into token ids; from there on nothing knows of ARC. `job` is
what all backends agree on, `train` runs one of them: `packed` (our own), `trl` (the reference) or `unsloth`.
A new backend is a function from `job.Job` to `job.Outcome`; it must see the same samples in the same order
at the same rates as the others, which `tests/training` compares.
"""
