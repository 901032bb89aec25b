#!/usr/bin/env bash
# Lints an OpenAPI document with Spectral and Redocly: lint.sh SPEC
# Exit status: 0 no errors (warnings are printed and counted), 1 errors, 2 the linters could not run.
set -euo pipefail

if [ "$#" -ne 1 ] || [ ! -f "$1" ]; then
  echo "usage: lint.sh SPEC (an OpenAPI file in JSON or YAML)" >&2
  exit 2
fi
spec=$(realpath "$1")
cd "$(dirname "$(realpath "$0")")"

# npm ci takes about ten seconds; it is spared while the installed tree is the one of this lock file.
lock=$(cksum package.json package-lock.json .npmrc)
if [ ! -f node_modules/.installed ] || [ "$(cat node_modules/.installed)" != "$lock" ]; then
  npm ci --loglevel=error >&2 || exit 2
  printf '%s\n' "$lock" >node_modules/.installed
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# No usage reports and no look-ups of newer versions: the linters see the file and nothing else.
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true

# Both exit non-zero on findings as on failures; report.mjs tells them apart by what was written.
node_modules/.bin/spectral lint --ruleset .spectral.yaml --fail-severity error --fail-on-unmatched-globs \
  --quiet --format json --output "$out/spectral.json" "$spec" 2>"$out/spectral.log" || true
node_modules/.bin/redocly lint --config redocly.yaml --format json --max-problems 100000 "$spec" \
  >"$out/redocly.json" 2>"$out/redocly.log" || true
node report.mjs "$out"
