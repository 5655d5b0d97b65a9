#!/usr/bin/env bash
# Installs the references into .cache/oracles, where the tests look for them.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 -m venv .cache/oracles
.cache/oracles/bin/pip install --quiet --disable-pip-version-check --requirement tools/oracles/requirements.txt
# TRL is here for its chat templates alone: its dependencies (torch, accelerate) are not wanted.
.cache/oracles/bin/pip install --quiet --disable-pip-version-check --no-deps trl==1.16.0
