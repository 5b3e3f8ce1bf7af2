#!/bin/sh
# `make image-check BASE_IMAGE=...`: build the image without a container engine and try it.
#
# Wants Debian, root, curl and buildah. The base is any image with Python 3.11 or newer and venv that
# buildah can pull or has imported. BUILD_FLAGS: more arguments of `buildah bud`. CHECKPOINT: a folder
# to index the demo with; without it one is trained, which takes minutes.
#
# The image's root is bound read-only and entered with chroot as the image's user; /demo and /tmp are
# folders of the host, /dev and /proc the host's. What only an engine does is not tried: its
# networks, limits and restarts.
set -eu

images() { buildah --storage-driver vfs "$@"; }
failed() { echo "image-check: $*" >&2; exit 1; }
told() { echo "image-check: $*"; }

[ -n "${1:-}" ] || failed "BASE_IMAGE is empty; give one, such as python:3.11-slim-bookworm"
[ "$(id -u)" = 0 ] || failed "it binds a root file system; run it as root"
# In a mount namespace of its own every mount ends with the script.
[ -n "${IN_NAMESPACE:-}" ] || IN_NAMESPACE=1 exec unshare --mount sh "$0" "$@"
base=$1
port=${PORT:-8765}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
container=''
service=''
# Unmounted before anything is removed, or it would be removed from the host.
trap '[ -z "$service" ] || kill -9 "$service" 2>/dev/null
      ! mountpoint -q "$work/root" || umount -R "$work/root" || exit 1
      [ -z "$container" ] || images rm "$container" >/dev/null
      rm -r --one-file-system "$work"' EXIT

# BUILD_FLAGS are several words.
# shellcheck disable=SC2086
build() { images bud --isolation chroot --format docker \
    --build-arg "BASE=$base" ${BUILD_FLAGS:-} "$@" . >"$work/log" 2>&1; }

if build --build-arg ACCELERATOR=tpu; then failed "ACCELERATOR=tpu was built"; fi
grep -q "^ACCELERATOR is 'tpu'; it can be cpu or gpu" "$work/log" || { cat "$work/log"; exit 1; }
told "an accelerator that there is not is refused"
build -t hrem-search || { cat "$work/log"; exit 1; }
told "every step of the Dockerfile was run"

container=$(images from hrem-search)
root=$(images mount "$container")
mkdir -p "$work/root" "$work/demo" "$work/tmp" "$root/checkpoint" "$root/proc"
chown 10001:10001 "$work/demo" "$work/tmp"
mount --bind "$root" "$work/root"
mount -o remount,bind,ro "$work/root"
mount --bind "$work/demo" "$work/root/demo"
mount --bind "$work/tmp" "$work/root/tmp"
mount --rbind /dev "$work/root/dev"
mount --rbind /proc "$work/root/proc"
[ -z "${CHECKPOINT:-}" ] || mount -o bind,ro "$CHECKPOINT" "$work/root/checkpoint"
root=$work/root

# As docker-compose.yml starts it. exec all the way: the process is the service itself.
inside() {
    exec chroot --userspec=10001:10001 "$root" env -i -C /app PATH=/opt/hrem/bin:/usr/bin:/bin \
        PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 HREM_HOST=0.0.0.0 \
        "HREM_PORT=$port" HREM_ALLOWED_HOSTS=service setpriv --no-new-privs "$@"
}

du -sm "$root/opt/hrem" | sed 's/\t.*/ MB: the environment/'
du -sm "$root"/opt/hrem/lib/python3*/site-packages/* | sort -rn | head -8 | sed 's|/.*/||'
[ "$(inside id -u)" = 10001 ] || failed "the user is $(inside id -u)"
if (inside touch /app/written) 2>/dev/null; then failed "the root file system was written to"; fi
told "user 10001, and a root file system that is only read"

(inside python3 -m deploy.demo --no-serve --folder /demo --checkpoint /checkpoint)
mount -o remount,bind,ro "$root/demo"
inside python3 -m service --index /demo/indexes/scenes \
    --images-root /demo/data/scenes/images 2>"$work/service.log" &
service=$!
tries=0
until (inside python3 -m deploy.healthcheck); do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { cat "$work/service.log"; failed "the service did not become ready"; }
    sleep 1
done
told "the health check passes"
curl -fsS "http://127.0.0.1:$port/" | grep -q '<html' || failed "no page"
curl -fsS -H 'Host: service:8000' "http://127.0.0.1:$port/metrics" | grep -q '^hrem_' \
    || failed "no metrics for the name that Prometheus asks for"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: other' "http://127.0.0.1:$port/")" != 200 ] \
    || failed "it answers for a name that is not its own"
curl -fsS -H 'Content-Type: application/json' -d '{"query": "a red circle"}' \
    "http://127.0.0.1:$port/search/text" | grep -q '"results"' || failed "no results"
told "page, search and metrics answer; another name is refused"

kill -TERM "$service"
status=0
wait "$service" || status=$?
service=''
[ $status = 0 ] || failed "SIGTERM ended the service with status $status"
if (inside python3 -m deploy.healthcheck); then failed "healthy without a service"; fi
told "SIGTERM ends it with status 0, and the health check fails then"
