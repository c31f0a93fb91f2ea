#!/bin/sh
# Sees to it that the browser tests find a Chromium: the system's own, installed where that is allowed.
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="no"; fi
    if [ "$as_root" != no ]; then
        echo "Installing Chromium from the system's packages (once) ..."
        # The list of packages may be older than the packages are.
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null 2>&1 ||
            { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
                >/dev/null 2>&1
        if command -v chromium >/dev/null 2>&1; then exit 0; fi
    fi
fi
cat >&2 <<'END'
The browser tests need Chromium, and there is none: they are skipped. Install it, then run this again:
  Debian    sudo apt install chromium
  Ubuntu    sudo snap install chromium
  Fedora    sudo dnf install chromium
  macOS     brew install --cask google-chrome, then put a link called google-chrome on the PATH
END
