"""What every job needs, whatever it computes: files that appear whole or not at all, leases of devices, provenance.

Paths, JSON values and settings come in; files, device ids and records go out. It knows nothing of ARC and
of models. A new kind of file, of device or of record belongs here; what a rule computes does not. What is
here is used by everything above, so a change is felt everywhere: `files`, `devices` and `request` hold
promises that the tests of `tests/jobs` spell out.
"""
