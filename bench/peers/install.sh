#!/usr/bin/env bash
# Installs a peer of the `real` benchmark, which runs this where one is missing: `python` (PyTorch and transformers) into
# .cache/peers/venv, `llama` (node-llama-cpp with its own binaries) into .cache/peers/llama.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=.cache/peers
mkdir -p $peers
# Built beside its place, so that a half-finished installation is not taken for one.
case "${1:-}" in
  python)
    rm -rf $peers/venv.new
    python3 -m venv $peers/venv.new
    $peers/venv.new/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/peers/requirements.txt
    rm -rf $peers/venv
    mv $peers/venv.new $peers/venv
    ;;
  llama)
    rm -rf $peers/llama.new
    cp -r bench/peers/llama $peers/llama.new
    # Its install script would look for a compiler; the binaries are packages of their own.
    npm ci --loglevel=error --ignore-scripts --prefix $peers/llama.new
    rm -rf $peers/llama
    mv $peers/llama.new $peers/llama
    ;;
  *)
    echo "usage: bench/peers/install.sh python|llama" >&2
    exit 2
    ;;
esac
