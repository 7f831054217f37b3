"""Families of generated tasks: each draws a rule, and any number of pairs that follow it.

A family is written as the rule it teaches, in one function with a sentence that says the rule. The rule of
a task is drawn once, the pairs after it; what is the same in all pairs (a colour, a direction, a number) and
what changes from pair to pair is part of what is drawn.
"""

import importlib

from arcfold.families.registry import FAMILIES, Made

MODULES = (
    "selecting",
    "whole",
    "colouring",
    "filling",
    "lines",
    "moving",
    "extracting",
    "counting",
    "panels",
    "patterns",
    "stamping",
    "ordering",
    "denoising",
    "one_row",
    "composing",
)

for _name in MODULES:
    importlib.import_module(f"arcfold.families.{_name}")

__all__ = ["FAMILIES", "MODULES", "Made"]
