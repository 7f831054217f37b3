"""Families of generated tasks: each draws a rule, and any number of pairs that follow it.

A family is written as the rule it teaches, in one function with a sentence that says the rule. The rule of
a task is drawn once, the pairs after it; what is the same in all pairs (a colour, a direction, a number) and
what changes from pair to pair is part of what is drawn. A source of draws (`canvas.Draws`) comes in, a function
that makes one pair a call goes out, and `corpus.families_tasks` makes the same tasks of a seed each time. A new
family is a function with `@family` (`registry`) in the module of its kind; a new module is named in `composing`,
which has all of them. A family changed is another corpus for the same seed: shards and models made of it change.
"""
