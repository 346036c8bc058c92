#!/bin/sh
# Resolve the newest versions for every supported Python and system, with hashes and no host name.
set -eu
UV=$(command -v uv || echo ".venv/bin/python -m uv")
$UV pip compile --quiet --universal --generate-hashes --upgrade --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --extra dev --custom-compile-command "make lock" \
    pyproject.toml --output-file requirements/lock.txt
