#!/bin/sh
# Generate sidecarv1/ from proto/; with --check write elsewhere, compare, and exit 1 if what is committed is stale.
#
# The protos name no Go package, so that no language's paths stand in the contract: the mapping is made here.
set -eu

# What generated code says it was made by; a new version may change it, so it is pinned.
PROTOC_GEN_GO=v1.36.12
PROTOC_GEN_GO_GRPC=v1.6.2

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
package=sidecar.internal/clients/go/sidecarv1
plugins="$root/.tools/bin"

# A plugin of another version is installed anew.
install_plugin() { # command, module path, version
    "$plugins/$1" --version 2>/dev/null | grep -qF "${3#v}" || GOBIN="$plugins" go install "$2@$3"
}
install_plugin protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$PROTOC_GEN_GO"
install_plugin protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc "$PROTOC_GEN_GO_GRPC"

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

cd "$root/proto"
set -- "${1:-write}" sidecar/v1/*.proto
mode=$1
shift
for proto in "$@"; do
    mapping="${mapping:-} --go_opt=M$proto=$package --go-grpc_opt=M$proto=$package"
done
# shellcheck disable=SC2086 # the mapping is many words
"$root/.venv/bin/python" -m grpc_tools.protoc -I. $mapping \
    --plugin=protoc-gen-go="$plugins/protoc-gen-go" --go_out="$fresh" --go_opt=module="$package" \
    --plugin=protoc-gen-go-grpc="$plugins/protoc-gen-go-grpc" --go-grpc_out="$fresh" --go-grpc_opt=module="$package" \
    "$@"

case $mode in
write)
    rm -f "$here"/sidecarv1/*.pb.go
    mkdir -p "$here/sidecarv1"
    cp "$fresh"/*.pb.go "$here/sidecarv1/"
    ;;
--check)
    diff -r -q "$fresh" "$here/sidecarv1" || {
        echo "stale: clients/go/sidecarv1 (run \`make proto-go\` and commit)" >&2
        exit 1
    }
    ;;
*)
    echo "usage: generate.sh [--check]" >&2
    exit 2
    ;;
esac
