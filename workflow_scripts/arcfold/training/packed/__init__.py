"""Our own training backend: the steps of a `Job`, fast on a GPU and byte for byte the same twice.

A loaded model and a `training.job.Job` (samples as token ids, settings, schedule, the LoRA's first weights) come
in at `loop.train`; an `Outcome` (weights, losses, seconds) goes out, and the model is left as it was. Inside,
samples become rows (`rows`, `buckets`), rows become a loss and gradients (`network`, with `flat`, `kernels` and
`attention`), gradients become a step (`update`), and on a GPU a step's launches become one (`graphs`). Kernels,
layouts, shapes and the cutting of a step may change as long as the gradients are autograd's, a sample sees
nothing of its neighbours, and the same inputs on the same device give the same bytes (`tests/training/packed`,
`benchmarks/training_gpu_check.py`); what a step is stands in `training.job` and is the same in every backend.
Imported from here: `training.job`, `models` and `jobs`, nothing else of the library.
"""
