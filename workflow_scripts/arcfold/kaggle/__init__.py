"""The bundle of a run for a contest's notebook without a network: what is in it, and what its cells do there.

A run and its finished inputs come in; a folder goes out that needs nothing but a Python with torch. `inside` is what
runs there, before anything is installed: it imports the standard library alone, and of this library what does so too.
"""
