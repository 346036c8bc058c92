#!/bin/sh
# Make sure that tests of pages find a Chromium; installs Debian's where that can be done without asking.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Chromium for the tests of pages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "error: tests of pages need a Chromium on the path; install your system's package of it" >&2
    exit 2
fi
