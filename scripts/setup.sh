#!/bin/sh
# Make the virtual environment and install the locked versions into it, with hashes checked.
# uv is used when present, and installed into the environment when not.
set -eu

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3 ..." >&2
    exit 2
}
if ! [ -x "$VENV/bin/python" ]; then
    "$PYTHON" -m venv "$VENV" 2>/dev/null || {
        # Some systems ship Python without ensurepip; uv does not need it.
        command -v uv >/dev/null || {
            rm -rf "$VENV" # half of one would pass for a whole one next time
            echo "error: '$PYTHON -m venv' failed: install the venv package of your system's Python, or uv" >&2
            exit 2
        }
        uv venv --quiet --clear --python "$PYTHON" "$VENV"
    }
fi
if command -v uv >/dev/null; then
    UV=uv
else
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9
    UV="$VENV/bin/python -m uv"
fi

echo "installing into $VENV (the first time, several GB are fetched)"
if [ -z "${TORCH_BACKEND:-}" ]; then
    $UV pip install --python "$VENV/bin/python" --quiet --require-hashes -r "$LOCK"
else
    # Other builds of torch have other hashes and need none of the GPU libraries: the same versions of
    # torch and torchvision from their own index, everything else from the lock.
    "$PYTHON" scripts/without_torch.py "$LOCK" > "$VENV/lock-without-torch.txt"
    $UV pip install --python "$VENV/bin/python" --quiet --torch-backend "$TORCH_BACKEND" \
        $("$PYTHON" scripts/without_torch.py --pins "$LOCK")
    $UV pip install --python "$VENV/bin/python" --quiet --require-hashes --no-deps -r "$VENV/lock-without-torch.txt"
fi
$UV pip install --python "$VENV/bin/python" --quiet --no-deps --no-build-isolation --editable .
