"""What finished scores say about each other: means, differences with their noise, verdicts in words.

Score files come in; the content of results/compare_{study}.json and .csv goes out. `statistics` knows arrays alone,
`compare` the files, `words` the sentences. Nothing here starts a run, and nothing of it enters one.
"""
