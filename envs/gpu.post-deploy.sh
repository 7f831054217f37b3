#!/usr/bin/env bash
# Run by Snakemake in the new conda environment: see gpu.nodeps.lock, which this repeats, because
# Snakemake copies this file away from its folder.
set -euo pipefail
python -m pip install --no-deps unsloth==2026.10.9 unsloth_zoo==2026.10.9
