#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of the tests from Go modules, unless the cache has it.
#   tests/otel/collector.sh      prints the path of the binary; the first time takes about 2 minutes
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=0.165.0
cache=${ZEROTOUCH_TEST_CACHE:-$here/../../.cache}/otelcol/$version
binary=$cache/otelcol
mkdir -p "$cache"

# Several tests may ask at once; one builds.
exec 9>"$cache/lock"
flock 9
if ! [ -x "$binary" ] || ! cmp -s "$here/builder.yaml" "$cache/builder.yaml"; then
  {
    GOBIN=$cache go install "go.opentelemetry.io/collector/cmd/builder@v$version"
    rm -rf "$cache/source"
    mkdir "$cache/source"
    cd "$cache/source"
    "$cache/builder" --config "$here/builder.yaml"
    mv otelcol "$binary"
    rm -rf "$cache/source"
    cp "$here/builder.yaml" "$cache/builder.yaml"
  } >&2
fi
echo "$binary"
