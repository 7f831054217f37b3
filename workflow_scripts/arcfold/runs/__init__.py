"""What a run is: the meaning of its name, its settings, what its model may have seen, what it predicted.

The config comes in; runs, store keys and refusals go out to the rules, predictions and timelines to reports.
The key of a step is the hash of the settings that its bytes depend on, and of nothing else: a key that
changes for another reason trains every fold again. This package sees finished files alone and computes
nothing on a device.
"""
