"""Families of generated tasks: each draws a rule, and any number of pairs that follow it.

A family is written as the rule it teaches, in one function with a sentence that says the rule. The rule of
a task is drawn once, the pairs after it; what is the same in all pairs (a colour, a direction, a number) and
what changes from pair to pair is part of what is drawn. `composing` has all of them, `corpus` makes tasks.
"""
