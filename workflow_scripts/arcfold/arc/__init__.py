"""ARC itself: tasks, their views as text, folds, the choice of attempts and the score. No model, no torch.

Task files come in, as anybody writes them; `Task` and `Pair` go through, and what leaves is token ids (by
`text.Codec`), folds, attempts and scores. A new symmetry, text format, dataset or rule of selection belongs
here. Every view must be invertible and every draw must come from `views.generator`: the same seed, task and
purpose give the same draw on every machine.
"""
