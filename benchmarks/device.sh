#!/bin/sh
# What this machine's accelerator makes of capture, CKA and a trace, beside its CPU: benchmarks/device.py
# in a Python that has what Fusionscope needs. That is $PYTHON, or the environment of uv.
#
#     benchmarks/device.sh [--json] [--size small|base] [--limit-s 330]
#     PYTHON=python3 benchmarks/device.sh     # no network, or Fusionscope is not installed
set -eu
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if [ -n "${PYTHON:-}" ]; then
    exec "$PYTHON" benchmarks/device.py "$@"
fi
exec uv run --locked python benchmarks/device.py "$@"
