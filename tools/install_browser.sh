#!/usr/bin/env bash
# Installs the browser that tests/app/test_browser.py drives: Debian's chromium. Does nothing where there is one.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then
        echo "$(command -v "$name") is there"
        exit 0
    fi
done
apt-get update --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends chromium
