#!/usr/bin/env bash
# The Go bindings against an installed library: formatting, vet, the tests as they are and under the race detector, with
# collection at every turn and with cgo's full pointer checks, shared and static; and docs/hosts/go.md as a stranger follows
# it. `go-checks.sh PREFIX`, or the library that pkg-config finds. Needs go, a C compiler, pkg-config, zip.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
if [ $# -gt 0 ]; then
    prefix=$(realpath "$1")
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
fi
libraries=$(pkg-config --print-errors --variable=libdir onestep)
# Go's build cache does not look at C libraries: another one, or another place, must show in the flags, to be linked at all.
CGO_CFLAGS="-O2 -g -DONESTEP_LIBRARY=$({ echo "$libraries"; cat "$libraries"/libonestep.*; } | cksum | cut -d ' ' -f 1)"
export CGO_CFLAGS
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
cd bindings/go

echo "-- format, vet"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "not as gofmt writes it: $unformatted" >&2; exit 1; }
go vet ./...
go mod tidy -diff

# Always anew, since a test's result may be kept although the library is another.
echo "-- tests"
go test -count=1 ./...
# Both in one: each has a standard library of its own, which is compiled first.
echo "-- tests under the race detector, with cgo's full pointer checks"
GOEXPERIMENT=cgocheck2 go test -count=1 -short -race ./...
echo "-- tests with GOGC=1"
GOGC=1 go test -count=1 -short ./...
echo "-- golden hashes with ONESTEP_ISA=portable"
ONESTEP_ISA=portable go test -count=1 -short -run 'Golden|Load' ./...

echo "-- static"
go test -count=1 -short -tags onestep_static -run 'Golden|Open|Sample' .
go build -o "$scratch/shared" ./examples/sample
go build -tags onestep_static -o "$scratch/static" ./examples/sample
(
    cd "$scratch"
    ./shared && mv portraits.png shared.png
    env -u LD_LIBRARY_PATH ./static
    cmp shared.png portraits.png
    ldd shared | grep 'libonestep\.so\.1 ' > /dev/null
    if ldd static | grep libonestep; then exit 1; fi
)

echo "-- a stranger's module"
# A module proxy of one module, in a folder; what the module needs comes from the cache, which has a proxy's layout.
module=github.com/onestep/onestep/bindings/go
version=v$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
proxy=$scratch/proxy
versions=$proxy/$module/@v
mkdir -p "$versions" "$scratch/zip/$module@$version" "$scratch/stranger"
cp -r . "$scratch/zip/$module@$version"
(cd "$scratch/zip" && zip -qrD "$versions/$version.zip" .)
cp go.mod "$versions/$version.mod"
echo "$version" > "$versions/list"
echo "{\"Version\":\"$version\"}" > "$versions/$version.info"
downloaded=$(go env GOMODCACHE)/cache/download
cd "$scratch/stranger"
export GOPROXY="file://$proxy,file://$downloaded" GOMODCACHE="$scratch/modules" GOSUMDB=off GOFLAGS=-mod=mod
"$root/scripts/page-program.sh" "$root/docs/hosts/go.md" go > main.go
[ "$(grep -c . main.go)" -le 20 ]
go mod init stranger 2> /dev/null
go get "$module@$version"
go run . > portrait.png
[ "$(head -c 8 portrait.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
go run -tags onestep_static . | cmp - portrait.png
echo "go-checks: passed"
