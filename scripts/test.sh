#!/usr/bin/env bash
# Everything that CI checks, on any machine: sets up what is missing, then formats, lints, builds, tests, documents
# and runs the crate. Stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One target folder for all packages, and no RUSTFLAGS: other flags would build every dependency anew.
export CARGO_TARGET_DIR="$PWD/target"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# Most tests wait for servers and deadlines most of their time, so twice as many run at once as there are cores.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) * 2))}"
# Where Debian has `ip` and `nft`, of which its users needn't know.
export PATH="$PATH:/usr/sbin:/sbin"

scratch=$(mktemp -d)
redis_pids=""
service_pid=""
not_done=()

# Starts a server on port $1, with further options.
start_redis() {
    redis-server --port "$1" --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" "${@:2}" >"$scratch/$1.log" 2>&1 &
    redis_pids+=" $!"
    for _ in $(seq 100); do
        if ! port_is_free "$1"; then return; fi
        kill -0 "$!" 2>/dev/null || { cat "$scratch/$1.log"; fail "the redis-server didn't start"; }
        sleep 0.1
    done
}
stop_redis() {
    # shellcheck disable=SC2086 # words
    if [ -n "$redis_pids" ]; then
        kill $redis_pids 2>/dev/null || true
        wait $redis_pids 2>/dev/null || true
        redis_pids=""
    fi
}
clean_up() {
    stop_redis
    if [ -n "$service_pid" ]; then kill "$service_pid" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n=== %s (after %s s)\n' "$*" "$SECONDS"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}
fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
port_is_free() { ! (exec 3<>"/dev/tcp/localhost/$1") 2>/dev/null; }
ports_are_free() {
    local port
    for port in "$@"; do port_is_free "$port" || return 1; done
}
# Prints $1 free ports from port $2 on, each of which has its cluster bus port, 10000 above it, free too. They stay below the
# ports that systems give to clients.
free_ports() {
    local found=() port
    for ((port = $2; port < 22768; port++)); do
        if ports_are_free "$port" $((port + 10000)); then found+=("$port"); fi
        if [ ${#found[@]} = "$1" ]; then
            echo "${found[*]}"
            return
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Installs the Debian packages that are missing, or says which they are.
install() {
    local packages=("$@")
    if ! has apt-get || { [ "$(id -u)" != 0 ] && ! { has sudo && sudo -n true 2>/dev/null; }; }; then
        fail "please install ${packages[*]} (on Debian: apt-get install ${packages[*]}), then run this again"
    fi
    run as_root apt-get update -q
    run as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
}

# The tests start servers of their own, not the service that apt starts with the package. $1 says whether
# port 6379 was free before.
stop_redis_service() {
    if has systemctl && [ -d /run/systemd/system ]; then
        run as_root systemctl disable --now redis-server || true
    elif has service; then
        run as_root service redis-server stop || true
    fi
    if [ "$1" != yes ]; then return; fi
    for _ in $(seq 50); do
        if port_is_free 6379; then return; fi
        sleep 0.1
    done
    fail "apt started a redis-server on port 6379 that doesn't stop; please stop it"
}

# A test has Prometheus ask the example service. Its package would start a service of its own and bring much else, so the program alone
# is taken out of it.
fetch_prometheus() {
    local folder="$CARGO_TARGET_DIR/prometheus"
    if [ ! -x "$folder/usr/bin/prometheus" ]; then
        has apt-get && has dpkg || return 1
        mkdir -p "$folder"
        (cd "$folder" && { apt-get download -q prometheus || { as_root apt-get update -q && apt-get download -q prometheus; }; }) || return 1
        dpkg -x "$folder"/prometheus_*.deb "$folder" || return 1
    fi
    export PROMETHEUS="$folder/usr/bin/prometheus"
}

heading "Set-up"
missing=()
has cc || missing+=(gcc libc6-dev)
# The tests stop and continue servers by the program `kill`, not the shell's.
type -P kill >/dev/null || missing+=(procps)
# Others cut hosts off, which are network namespaces.
has ip || missing+=(iproute2)
has nft || missing+=(nftables)
has redis-server || missing+=(redis-server)
if [ ${#missing[@]} -gt 0 ]; then
    was_free=$(port_is_free 6379 && echo yes || echo no)
    install "${missing[@]}"
    if [[ " ${missing[*]} " == *" redis-server "* ]]; then stop_redis_service "$was_free"; fi
fi
has cargo || fail "there is no cargo; please install Rust, see https://rustup.rs"
cargo fmt --version >/dev/null 2>&1 || fail "there is no rustfmt; please install it: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || fail "there is no clippy; please install it: rustup component add clippy"
if [ -z "${PROMETHEUS:-}" ] && ! has prometheus && ! fetch_prometheus; then
    not_done+=("no Prometheus asked the example service, because there is none and it can't be fetched")
fi
rustc --version
redis-server --version

heading "Format"
run cargo fmt --all --check
run cargo fmt --manifest-path tests/feature_unification/Cargo.toml --check
run cargo fmt --manifest-path tests/model/Cargo.toml --check
# Where a maintainer has it: no system's package does.
if has typos; then run typos; fi

heading "Lint: everything, with all features"
run cargo clippy --workspace --all-features --all-targets -- -D warnings

for features in "--no-default-features" "--no-default-features --features encryption" "--no-default-features --features lz4" \
    "--no-default-features --features macros" \
    "--no-default-features --features messagepack" "--no-default-features --features metrics" \
    "--no-default-features --features operate" "--no-default-features --features tls" ""; do
    heading "Lint: the library ${features:-with default features}"
    # Without its dev-dependencies, whose features would hide what is missing. A build would find nothing more.
    # shellcheck disable=SC2086 # words
    run cargo clippy --lib $features -- -D warnings
done

oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
heading "Build: by the oldest compiler, $oldest"
if has rustup && rustup toolchain install "$oldest" --profile minimal --no-self-update >"$scratch/rustup.log" 2>&1; then
    run cargo "+$oldest" check --lib --all-features
else
    not_done+=("nothing was built by the oldest compiler, Rust $oldest, because rustup isn't there or can't install it")
fi

heading "Tests: unit, architecture, integration, compile-fail"
run cargo test --workspace --all-features --lib --tests

heading "Tests: documentation and README"
run cargo test --workspace --all-features --doc

heading "Tests: the library without features"
run cargo test --no-default-features --lib

heading "Tests: features that other crates turn on"
run cargo test --manifest-path tests/feature_unification/Cargo.toml

heading "Tests: schedules of a model"
# As many as tests/model/mutants.sh explores, which puts bugs back: the checker finds each by then.
CACHEHOUSE_SCHEDULES="${CACHEHOUSE_SCHEDULES:-20000}" run cargo test --manifest-path tests/model/Cargo.toml -- --nocapture
if has git; then
    run git apply --check tests/model/mutants.patch
else
    not_done+=("whether tests/model/mutants.patch fits the sources wasn't looked at, because there is no git")
fi

heading "Documentation"
RUSTDOCFLAGS="-D warnings" run cargo doc --workspace --all-features --no-deps

heading "Packages"
# cargo unpacks a workspace's packages once for a version and a folder: after a change, it would build the others over an earlier run's.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/cache-house-*
# Both at once: the library is built from its own package and that of the macros, which needs no registry to have them. The others'
# packages are built when they are published.
run cargo package -p cache-house-macros -p cache-house --allow-dirty
for package in cache-house cache-house-cli cache-house-macros cache-house-tower; do
    cargo package -p "$package" --allow-dirty --list >"$scratch/$package.list"
    needed=(Cargo.toml README.md LICENSE-MIT LICENSE-APACHE)
    # What only the documentation's tests include isn't missed by the build.
    if [ "$package" = cache-house ]; then needed+=(CHANGELOG.md SECURITY.md docs/*.md docs/*.svg examples/cachehouse.toml); fi
    for file in "${needed[@]}"; do
        grep -qxF -- "$file" "$scratch/$package.list" || fail "the package $package lacks $file"
    done
done

heading "Examples build"
run cargo build --workspace --all-features --examples

# Runs an example; its output has to hold the given text.
example() {
    local expected=$1
    shift
    printf '$ %s\n' "cargo run --example $*"
    "$CARGO_TARGET_DIR/debug/examples/$1" "${@:2}" | tee "$scratch/output" || fail "the example $1 ended with an error"
    grep -qF -- "$expected" "$scratch/output" || fail "the example $1 didn't print: $expected"
}

# Runs config_check on a configuration or a server with a mistake: it has to end with 1 and to say the given text.
mistake() {
    local expected=$1 status=0
    shift
    printf '$ %s\n' "cargo run --example config_check -- $*"
    "$CARGO_TARGET_DIR/debug/examples/config_check" "$@" >"$scratch/output" 2>&1 || status=$?
    cat "$scratch/output"
    [ "$status" = 1 ] || fail "config_check ended with $status, not with 1"
    grep -qF -- "$expected" "$scratch/output" || fail "config_check didn't print: $expected"
}

heading "Processes that share a server, which the example starts"
example "no answer was older than promised" fleet --seconds 5

heading "config_check without a server"
printf '[memory]\n' >"$scratch/memory.toml"
printf 'expire = "soon"\n[connection]\npasword = "hunter2"\n' >"$scratch/wrong.toml"
example "all is well" config_check "$scratch/memory.toml"
mistake "wrong.toml:3" "$scratch/wrong.toml"
if grep -q hunter2 "$scratch/output"; then fail "config_check printed a secret"; fi
CACHEHOUSE_NAMESPCE=app mistake "the nearest known one is CACHEHOUSE_NAMESPACE" "$scratch/memory.toml"

# Asks the service at port $1 for the path $2; its answer has to hold $3.
ask() {
    printf '$ GET %s\n' "$2"
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' "$2" >&3
    cat <&3 >"$scratch/output"
    exec 3>&-
    grep -F -- "$3" "$scratch/output" || { cat "$scratch/output"; fail "the service didn't answer: $3"; }
}

heading "The example service"
LISTEN=127.0.0.1:0 "$CARGO_TARGET_DIR/debug/examples/axum_service" >"$scratch/service.log" 2>&1 &
service_pid=$!
for _ in $(seq 100); do
    if grep -q "listening on" "$scratch/service.log"; then break; fi
    kill -0 "$service_pid" 2>/dev/null || { cat "$scratch/service.log"; fail "the service didn't start"; }
    sleep 0.1
done
service_port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$scratch/service.log")
ask "$service_port" /products/1 '"name":"lamp"'
ask "$service_port" /products/1 '"name":"lamp"'
ask "$service_port" /rates/EUR 'cache-control: max-age=5'
ask "$service_port" /catalogue 'cache-status: cache-house; fwd=uri-miss; stored'
ask "$service_port" /catalogue 'cache-status: cache-house; hit'
ask "$service_port" /health '"status":'
ask "$service_port" /metrics 'cachehouse_requests_total{namespace="products",result="hit"'
kill -TERM "$service_pid"
status=0
wait "$service_pid" || status=$?
service_pid=""
[ "$status" = 0 ] || fail "the service ended with $status, not with 0, after SIGTERM"
grep -x stopped "$scratch/service.log" || fail "the service didn't stop in good order"

heading "freshness without a server"
example "runs of the work" freshness --scale 0.25

heading "A reverse proxy that caches, without a server"
example "fwd=stale; detail=stale-if-error" axum_proxy

heading "The picture of an outage, over a server that the example starts"
example "wrote $scratch/outage.svg" outage_picture "$scratch/outage.svg" 0.5

if port=$(free_ports 1 6379); then
    server="localhost:$port"
    # For the examples that load a configuration.
    export CACHEHOUSE_AUTODETECT__ENDPOINT="$server" CACHEHOUSE_AUTODETECT__NODES="[\"127.0.0.1:$port\"]"
    sources="$PWD/src"

    heading "Examples without a server, on port $port"
    mistake "the server can't be used"
    example "user 7, after 1 runs" from_file
    example "no Redis on $server: caching in memory" quickstart "$sources" "$server"
    example "all agree: true" sync_app "$server"
    example "no cluster there: memory serves" cluster "$server" --seconds 1
    example "memory serves" autodetect "$server" --seconds 1
    example "there is no server at $server" near "$server" 1

    heading "Examples with a server of their own"
    start_redis "$port"
    example "Redis on $server" quickstart "$sources" "$server"
    if grep -q "starts warm" "$scratch/output"; then fail "the first run can't start warm on an empty server"; fi
    example "starts warm" quickstart "$sources" "$server"
    example "connected to a standalone server" sync_app "$server"
    example "connected to a standalone server" autodetect "$server" --seconds 1
    example "connected to a standalone server" from_file
    example "connected to a standalone server" freshness --server "$server" --scale 0.25
    example "  on" near "$server" 2
    example "insert, get, remove: fine" config_check
    CACHEHOUSE_NEAR_CACHE__MAX_STALENESS=1s example "near cache: on" config_check
    example "all is well" config_check examples/cachehouse.toml
    example "no answer was older than promised" fleet --endpoint "$server" --seconds 2
    CACHEHOUSE_CONNECTION__USERNAME=nobody CACHEHOUSE_CONNECTION__PASSWORD=hunter2 mistake "authentication refused"
    if grep -q hunter2 "$scratch/output"; then fail "config_check printed a secret"; fi
    stop_redis
    unset CACHEHOUSE_AUTODETECT__ENDPOINT CACHEHOUSE_AUTODETECT__NODES
else
    not_done+=("the examples weren't run, because other programs hold all ports from 6379 on")
fi

if ports=$(free_ports 3 7400); then
    read -ra nodes <<<"$ports"
    heading "Examples with a cluster of their own"
    for port in "${nodes[@]}"; do start_redis "$port" --cluster-enabled yes --cluster-config-file "$port.conf"; done
    addresses=("${nodes[@]/#/127.0.0.1:}")
    redis-cli --cluster create "${addresses[@]}" --cluster-yes >"$scratch/create.log" || { cat "$scratch/create.log"; fail "no cluster"; }
    for port in "${nodes[@]}"; do
        for _ in $(seq 100); do
            if redis-cli -p "$port" cluster info | grep -q cluster_state:ok; then break; fi
            sleep 0.1
        done
    done
    example "connected to a cluster, 3 of 3 shards served" cluster "${addresses[@]}" --seconds 2
    example "connected to a cluster, 3 of 3 shards served" autodetect "${addresses[0]}" --seconds 1
    example "no answer was older than promised" fleet --endpoint "${addresses[0]}" --seconds 2
    stop_redis
else
    not_done+=("the examples weren't run over a cluster, because there are no three free ports from 7400 on whose bus ports are free too")
fi

heading "Result"
if [ ${#not_done[@]} -gt 0 ]; then
    printf 'All that was run has passed, but: %s.\n' "${not_done[@]}"
else
    echo "All passed."
fi
