"""Candidates and their scores: all replies that a model gives enough probability, and the probability of given ones.

Token ids of prompts and a model come in (`search.search` with a threshold and the end token,
`rescoring.reply_log_probs` with the replies to score); replies with natural log-probabilities go out, and how near
the nearest decision was to the threshold. `candidates` and `benchmark` stand at the top and alone know tasks and
grids (`arc`); everything below sees token ids and imports only `jobs` and `models`, never `training` or
`pretraining`. Order, batching, caches and kernels may change: the replies may not, but for rounding, and the same
call must give the same bytes on the same device. `sequential`, one token a forward pass, is the reference that
`tests/search` and `benchmark` hold the rest against; it shares nothing with it and stays as simple as it is.
"""
