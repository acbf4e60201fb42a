#!/usr/bin/env bash
# Looks for inputs that break what reads them: runs each fuzz target under libFuzzer and the address sanitizer for $1 seconds (60), then
# keeps as its corpus 120 of those that reached something new. `cargo test` runs the targets over their corpora. $2 is a part of
# the names of the targets to run. Needs the nightly compiler and, once, ten minutes to build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-60}
wanted=${2:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What `cargo bolero` builds with. It would build the integration tests too, which takes many times as long.
flags="--cfg fuzzing -Cpasses=sancov-module --cfg fuzzing_libfuzzer -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth -Zsanitizer=address"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
binary=$(RUSTFLAGS="$flags" cargo +nightly test --lib --no-run --all-features \
    --profile fuzz --target "$host" --target-dir target/fuzz --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$binary" ] || { echo "failed: the targets weren't built" >&2; exit 1; }

# libFuzzer's arguments are the other ones.
fuzz() {
    BOLERO_TEST_NAME="$1" BOLERO_FUZZER=1 BOLERO_LIBFUZZER_ARGS="${*:2}" "$binary" "$1" --exact --nocapture >"$scratch/output" 2>&1
}

# bolero says where each target keeps its inputs. The names of all begin with `any_`.
CARGO_BOLERO_SELECT=all "$binary" any_ --nocapture --test-threads 1 2>/dev/null | grep '"__bolero_target"' |
    sed 's/.*"work_dir":"\([^"]*\)".*"test_name":"\([^"]*\)".*/\2 \1/' >"$scratch/targets"
while read -r name folder; do
    [[ "$name" == *"$wanted"* ]] || continue
    new="$scratch/new" least="$scratch/least"
    rm -rf "$new" "$least"
    mkdir -p "$new" "$least" "$folder/corpus"
    if ! fuzz "$name" "$new" "$folder/corpus" -max_total_time="$seconds" -max_len=512 -timeout=10 -artifact_prefix="$scratch/"; then
        tail -n 100 "$scratch/output"
        mkdir -p "$folder/crashes"
        find "$scratch" -maxdepth 1 -type f -name '*-*' -exec cp {} "$folder/crashes" \;
        echo "failed: $name; cargo test fails over the input in $folder/crashes too" >&2
        exit 1
    fi
    inputs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$scratch/output")
    # Some of each length. libFuzzer's merge would choose better, but it starts this program again without the target's name.
    cp "$folder"/corpus/* "$new" 2>/dev/null || true
    find "$new" -type f -printf '%s %p\n' | sort -n >"$scratch/found"
    awk -v all="$(wc -l <"$scratch/found")" -v most=120 \
        'all <= most || int(NR * most / all) != int((NR - 1) * most / all) { print $2 }' "$scratch/found" | xargs cp -t "$least"
    rm -rf "$folder/corpus"
    cp -r "$least" "$folder/corpus"
    printf '%s: %s inputs, %s kept\n' "$name" "$inputs" "$(find "$folder/corpus" -type f | wc -l)"
done <"$scratch/targets"
