"""Base models from scratch: generated and public tasks in, a model folder that transformers loads out.

Corpora come in (`corpora`, `collecting`, `families`), without the tasks that models are measured on
(`corpus_leaks`), and become `shards`; a recipe and shards go into `run.train`, which draws `batches`, trains a
`network` in a `loop` and measures it on `held_out` tasks, now and then and, adapted to them, at the end
(`adapting_score`); a folder with weights, tokenizer, curve and card goes out (`base_folder`, `model_card`). A new
corpus, family, size, optimizer or schedule belongs here. What must stay: no model is trained on an evaluation
or a development task, a batch depends on seed, rank and number alone, and the folder is stock Qwen3, or Qwen3
with positions by grids. This package imports `arc`, `models` and `jobs`, and nothing of `search` or `training`.
"""
