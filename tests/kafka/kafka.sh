#!/usr/bin/env bash
# Apache Kafka for tests.
#   kafka.sh fetch                            put the jars into the cache, unless they are there
#   kafka.sh run DIR PORT CONTROLLER_PORT [PROXIED_PORT PROXY_PORT]
#                                             format DIR if it is new, run a broker in it; a proxy
#                                             at PROXY_PORT may forward to PROXIED_PORT (the ports
#                                             after CONTROLLER_PORT if they are not given)
# `run` ends, and ends its broker, when its standard input is closed: a test process that dies in
# whatever way leaves no broker behind. With a file DIR/.temporary it then removes DIR as well.
# KAFKA_MORE_PROPERTIES names a file beside this one that is added to server.properties.
# ZEROTOUCH_TEST_CACHE says where the jars are kept; .cache in the repository otherwise.
set -euo pipefail

version=${KAFKA_VERSION:-4.4.0}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${ZEROTOUCH_TEST_CACHE:-$here/../../.cache}
jars=$cache/kafka/$version

die() { echo "kafka.sh: $*" >&2; exit 1; }

need() {
  command -v "$1" >/dev/null ||
    die "'$1' was not found, and tests against a real Kafka need it: install $2"
}

fetch() {
  [ -d "$jars" ] && return
  need mvn "Maven (Debian: apt-get install maven; macOS: brew install maven)"
  mkdir -p "$cache/kafka"
  local part
  part=$(mktemp -d "$cache/kafka/.part-XXXXXX")
  trap 'rm -rf "$part"' EXIT
  local -a copy=(mvn -q -B -f "$here/pom.xml" "-Dkafka.version=$version"
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
    -DincludeScope=runtime "-DoutputDirectory=$part")
  # Offline, Maven may still have everything from an earlier run.
  "${copy[@]}" >&2 || "${copy[@]}" -o >&2 ||
    die "Maven could not fetch Apache Kafka $version; is Maven Central reachable?"
  chmod 755 "$part"
  # A rename is all or nothing. If another run was quicker, its directory serves as well.
  mv -T "$part" "$jars" 2>/dev/null || [ -d "$jars" ] || die "could not fill $jars"
  trap - EXIT
  rm -rf "$part"
}

run() {
  local dir port=$2 controller_port=$3 proxied_port=$4 proxy_port=$5
  dir=$(mkdir -p "$1" && cd "$1" && pwd)
  need java "a Java runtime, 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
  fetch
  sed -e "s|@DIR@|$dir|g" -e "s|@PORT@|$port|g" -e "s|@CONTROLLER_PORT@|$controller_port|g" \
    -e "s|@PROXIED_PORT@|$proxied_port|g" -e "s|@PROXY_PORT@|$proxy_port|g" \
    "$here/server.properties" >"$dir/server.properties"
  # Of a key that is there twice the last value counts.
  if [ -n "${KAFKA_MORE_PROPERTIES:-}" ]; then
    cat "$here/$KAFKA_MORE_PROPERTIES" >>"$dir/server.properties"
  fi
  local -a java=(java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$jars/*")
  if [ ! -e "$dir/data/meta.properties" ]; then
    local id
    id=$("${java[@]}" kafka.tools.StorageTool random-uuid | tail -n 1)
    "${java[@]}" kafka.tools.StorageTool format --standalone -t "$id" \
      -c "$dir/server.properties" >&2
  fi
  "${java[@]}" kafka.Kafka "$dir/server.properties" >&2 </dev/null &
  local broker=$!
  echo "$broker" >"$dir/pid"
  # A signal to the whole process group must not keep us from cleaning up.
  trap '' INT TERM HUP
  # Standard input ends when whoever started us is gone, or wants us gone.
  cat >/dev/null || true
  kill -KILL "$broker" 2>/dev/null || true
  wait "$broker" 2>/dev/null || true
  if [ -e "$dir/.temporary" ]; then rm -rf "$dir"; fi
}

case ${1:-} in
  fetch) fetch ;;
  run)
    [ $# -eq 4 ] || [ $# -eq 6 ] ||
      die "usage: kafka.sh run DIR PORT CONTROLLER_PORT [PROXIED_PORT PROXY_PORT]"
    run "$2" "$3" "$4" "${5:-$(($4 + 1))}" "${6:-$(($4 + 2))}"
    ;;
  *) die "usage: kafka.sh fetch | run …" ;;
esac
