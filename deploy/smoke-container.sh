#!/usr/bin/env bash
# Builds the container that deploy/ describes and asks it for images: see deploy/README.md.
#
# No container engine is needed, and no registry of images: the base is made by debootstrap, the rest by
# `bentoml containerize` with buildah, which runs here without privileges of the kernel's that engines want.
# Everything that the build installs is fetched first, by this machine's pip and its settings.
#
#   .smoke/             what is kept between two runs (SMOKE_DIR): an environment, the base, the wheels, a model store
#   SMOKE_CONTAINER=0   do nothing, successfully
set -euo pipefail
cd "$(dirname "$0")/.."

# The link, not what it points to: an environment is known by its path.
readonly PYTHON="$(realpath --no-symlinks "${PYTHON:-.smoke/venv/bin/python}")" DIR="$PWD/${SMOKE_DIR:-.smoke}" PORT="${SMOKE_PORT:-3917}"
readonly ENTRYPOINT=/home/bentoml/bento/env/docker/entrypoint.sh
readonly BASE=localhost/ganmint-smoke-base IMAGE=localhost/ganmint-smoke
# The release whose Python constraints.txt was tested with.
readonly DEBIAN=bookworm
container='' pid=''

main() {
    [ "${SMOKE_CONTAINER:-1}" != 0 ] || { echo 'smoke-container: skipped (SMOKE_CONTAINER=0)'; return; }
    check_machine
    mkdir -p "$DIR"
    trap clean_up EXIT
    make_base
    fetch_wheels
    build
    start
    "$PYTHON" -m deploy.check_container "http://127.0.0.1:$PORT" "$(server_pid)" "$DIR/container.log"
    wait "$pid" || fail "the container ended with $?, not 0"
    pid=''
    echo "image: $(size) MiB; ready after $ready_s s"
    echo 'smoke-container: passed'
}

fail() {
    echo "smoke-container: $*" >&2
    [ ! -s "$DIR/container.log" ] || tail -n 30 "$DIR/container.log" >&2
    exit 1
}

clean_up() {
    [ -z "$pid" ] || kill -KILL -- "-$pid" 2>/dev/null || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null
}

check_machine() {
    [ "$(id -u)" = 0 ] || fail 'run it as root: debootstrap and chroot need it'
    for tool in buildah debootstrap curl openssl; do
        command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install buildah debootstrap curl openssl"
    done
    [ "$("$PYTHON" -c 'import sys; print(*sys.version_info[:2])')" = '3 11' ] ||
        fail "the wheels must be for Python 3.11, as $DEBIAN has it; $PYTHON is another"
    ! curl --silent --output "$DIR/null" "http://127.0.0.1:$PORT/" 2>/dev/null || fail "port $PORT is taken; set SMOKE_PORT"
}

make_base() {
    buildah inspect --type image "$BASE" >/dev/null 2>&1 && return
    echo "making the base image: Debian $DEBIAN with Python"
    local root="$DIR/root" log="$DIR/debootstrap.log"
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,python3,bash "$DEBIAN" "$root" >"$log" 2>&1 ||
        { tail -n 5 "$log" >&2; fail 'debootstrap failed'; }
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/*
    # Docker's images of Python bring it.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
        --target "$root/usr/local/lib/python3.11/dist-packages" pip
    tar --create --file "$DIR/root.tar" --directory "$root" .
    printf 'FROM scratch\nADD root.tar /\n' >"$DIR/Containerfile"
    buildah bud --isolation chroot --quiet --tag "$BASE" --file "$DIR/Containerfile" "$DIR" >/dev/null
    rm -rf "$root" "$DIR/root.tar"
}

# pip reads its settings from where the build mounts this folder.
fetch_wheels() {
    # The wheel of this checkout, by the environment that `make smoke-container` made.
    local venv="${PYTHON%/bin/python}"
    make --no-print-directory VENV="$venv" --assume-old="$venv/.ready" deploy/wheels/.made
    echo 'fetching wheels'
    # Also what only older patch releases of Python need: the base's may be older than this machine's.
    sed "s/ ; python_full_version < '[0-9.]*'//" deploy/requirements-cpu.txt >"$DIR/requirements.txt"
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
        --requirement "$DIR/requirements.txt" --dest "$DIR/pip/wheels" >"$DIR/pip.log" 2>&1 ||
        { tail -n 5 "$DIR/pip.log" >&2; fail 'pip could not fetch the wheels'; }
    printf '[global]\nno-index = true\nfind-links = /etc/xdg/pip/wheels\n' >"$DIR/pip/pip.conf"
}

build() {
    export BENTOML_HOME="$DIR/home" BENTOML_DO_NOT_TRACK=true
    "$PYTHON" -m ganmint models install
    openssl ecparam -name prime256v1 -genkey -noout -out "$DIR/key.pem"
    openssl ec -in "$DIR/key.pem" -pubout -out "$DIR/key.pub" 2>/dev/null
    "$PYTHON" -m ganmint models sign digits --private-key "$DIR/key.pem"
    local tag
    tag="$("$PYTHON" -m bentoml build deploy --arg variant=cpu --arg "base_image=$BASE" --output tag)"
    tag="${tag##*__tag__:}"
    echo "containerizing $tag"
    buildah rmi --force "$IMAGE" >/dev/null 2>&1 || true
    # BentoML reads the bento's Dockerfile.j2 only from below the folder that it is run in, and copies it to a temporary one.
    (cd "${TMPDIR:-/tmp}" && "$PYTHON" -m bentoml containerize "$tag" --backend buildah --image-tag "$IMAGE" \
        --opt isolation=chroot --opt "volume=$DIR/pip:/etc/xdg/pip:ro") >"$DIR/build.log" 2>&1 || true
    # BentoML logs what went wrong, and ends with 0 all the same.
    buildah inspect --type image "$IMAGE" >/dev/null 2>&1 || { tail -n 30 "$DIR/build.log" >&2; fail 'the build failed'; }
    "$PYTHON" -m bentoml delete --yes "$tag" >/dev/null
    container="$(buildah from "$IMAGE")"
}

# As a cluster would: the image's own user, and one writable folder. chroot has no switch for a read-only root, but
# deploy.check_image has seen that this user may write nowhere else.
inside() {
    buildah run --isolation chroot --volume "$DIR/tmp:/tmp" "$@"
}

start() {
    rm -rf "$DIR/tmp"
    mkdir -m 1777 "$DIR/tmp"
    cp "$DIR/key.pub" "$DIR/tmp"
    buildah inspect "$container" >"$DIR/image.json"
    "$PYTHON" -m deploy.check_image "$(buildah mount "$container")" "$DIR/image.json" || fail 'the image is not as it should be'
    check_packages
    inside "$container" -- "$ENTRYPOINT" \
        ganmint export digits --count 20 --shard-size 10 --format imagefolder --out /tmp/exported >/dev/null
    "$PYTHON" -m ganmint dataset verify "$DIR/tmp/exported" --sample 20 || fail 'what it exported does not verify'
    local began
    began="$(date +%s%N)"
    set -m
    inside --env GANMINT_DRAIN_PAUSE_S=1 --env GANMINT_REQUIRE_SIGNED=1 --env GANMINT_PUBLIC_KEY=/tmp/key.pub \
        "$container" -- \
        "$ENTRYPOINT" serve --port "$PORT" --timeout-graceful-shutdown 35 >"$DIR/container.log" 2>&1 &
    pid=$!
    set +m
    until curl --fail --silent --output "$DIR/null" "http://127.0.0.1:$PORT/readyz"; do
        kill -0 "$pid" 2>/dev/null || fail 'the container ended before it was ready'
        [ $((($(date +%s%N) - began) / 1000000000)) -lt 180 ] || fail 'the container was not ready within 180 s'
        sleep 0.1
    done
    ready_s="$(awk "BEGIN { printf \"%.1f\", ($(date +%s%N) - $began) / 1e9 }")"
}

# What `make sbom` lists is in the image, and nothing that is not in its lock.
check_packages() {
    local list='import re; from importlib.metadata import distributions as every
print(*{re.sub("[-_.]+", "-", d.name).lower() + "==" + d.version for d in every() if d.name != "ganmint"}, sep="\n")'
    inside "$container" -- /app/.venv/bin/python -c "$list" | sort >"$DIR/packages.txt"
    local missing others
    missing="$("$PYTHON" -m deploy.packages | sort | comm -23 - "$DIR/packages.txt")"
    [ -z "$missing" ] || fail "the image lacks packages that make sbom lists: $missing"
    # The lock has some for older patch releases of Python, too.
    others="$(grep --only-matching '^[a-z0-9][^ ;]*==[^ ;]*' deploy/requirements-cpu.txt | sort | comm -13 - "$DIR/packages.txt")"
    [ -z "$others" ] || fail "the image has packages that its lock does not list: $others"
    ! grep -q '^torch==' "$DIR/packages.txt" || fail 'the image for CPUs has torch'
}

# The container's first process, which a cluster signals: buildah's own are above it.
server_pid() {
    local found="$pid"
    until tr '\0' ' ' <"/proc/$found/cmdline" | grep -q '/bentoml serve '; do
        found="$(pgrep --parent "$found" | head -n 1)"
        [ -n "$found" ] || fail 'no server runs in the container'
    done
    echo "$found"
}

size() {
    local bytes
    bytes="$(du --summarize --bytes "$(buildah mount "$container")" | cut -f1)"
    echo $((bytes / 1048576))
}

main
