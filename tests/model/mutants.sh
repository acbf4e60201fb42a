#!/usr/bin/env bash
# Puts bugs back one by one, most of which the crate once had, and shows that the checker finds each; with arguments, those of these names.
# Works on a copy of the sources.
# `CACHEHOUSE_SCHEDULES` says how many schedules of each scenario are explored at most.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TARGET_DIR="$target" CACHEHOUSE_SCHEDULES="${CACHEHOUSE_SCHEDULES:-20000}"

# In the target folder, at the same place each time, so that it's built anew only where something has changed.
copy="$target/mutants"
rm -rf "$copy"
mkdir -p "$copy/tests/model"
cp -rp Cargo.toml README.md src docs "$copy/"
cp -rp tests/golden "$copy/tests/"
cp -rp tests/model/{Cargo.toml,Cargo.lock,build.rs,src,tests} "$copy/tests/model/"
patch --quiet -p1 -d "$copy" <tests/model/mutants.patch
# By another name, so that it shares the dependencies' builds and not that of the package itself.
sed -i 's/cache-house-model/cache-house-mutants/' "$copy"/tests/model/Cargo.{toml,lock}

# One build has all of them; a variable says which one is in effect.
all=$(grep -oE 'has_bug\("[a-z_]+"\)' tests/model/mutants.patch | cut -d'"' -f2 | sort -u)
bugs=${*:-$all}
cargo test --quiet --manifest-path "$copy/tests/model/Cargo.toml" --no-run

missed=()
for bug in $bugs; do
    if CACHEHOUSE_BUG="$bug" cargo test --quiet --manifest-path "$copy/tests/model/Cargo.toml" -- --nocapture \
        >"$copy/$bug.log" 2>&1; then
        printf 'missed %s\n' "$bug"
        missed+=("$bug")
    else
        printf 'found  %s\n' "$bug"
        sed -n 's/^\([a-z_]*: schedule [0-9]*\) has failed.*/       by \1/p' "$copy/$bug.log" | sort
    fi
done
if [ ${#missed[@]} -gt 0 ]; then
    printf 'failed: %s of the bugs were missed\n' "${#missed[@]}" >&2
    exit 1
fi
