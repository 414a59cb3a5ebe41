#!/usr/bin/env bash
# The first program of a language in a page of documentation: `page-program.sh docs/hosts/c.md c`.
set -euo pipefail
awk -v fence='```'"$2" '!found && $0 == fence { inside = found = 1; next } inside && /^```$/ { exit } inside' "$1"
