# What the modes of `run` share: versions, tools, builds, starting a driver and the server. Sourced.
# shellcheck shell=bash

jdbc=mssql-jdbc-13.4.0.jre11.jar
jdbc_coordinates=com.microsoft.sqlserver:mssql-jdbc:13.4.0.jre11
jdbc_sum=e36f5237c1267983e5b88dc2169f6b9d7e50eceec6dc1ca31018e3877e14af66
odbc=mssql_python_odbc-18.6.2.2-py3-none-manylinux_2_28_x86_64.whl
odbc_requirement=mssql-python-odbc==18.6.2.2
odbc_sum=f5ed985f6d9854345e3e65dbc38e0b574ff13d8e04e6a58492d37bb19e714553
odbc_library=mssql_python_odbc/libs/linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1

say() { printf '%s\n' "$*" >&2; }

# The tools are fetched where this runs as root on Debian with CI=true; elsewhere it is said what is missing.
apt_updated=no
need() { # TOOL=PACKAGE...; a TOOL with a slash is a file
    local pair tool packages=()
    for pair in "$@"; do
        tool=${pair%%=*}
        case $tool in
        */*) [ -e "$tool" ] || packages+=("${pair#*=}") ;;
        *) command -v "$tool" >/dev/null || packages+=("${pair#*=}") ;;
        esac
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "not installed: ${packages[*]}; see README.md"
        exit 2
    fi
    say "installing ${packages[*]}"
    [ "$apt_updated" = yes ] || apt-get update -qq >&2
    apt_updated=yes
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
}

check_sum() { # FILE SUM
    printf '%s  %s\n' "$2" "$1" | sha256sum --check --quiet -
}

build_crate() { # FOLDER; the versions are those of its Cargo.lock
    (cd "$here/$1" && cargo build --quiet --locked)
}

set_up_server() {
    need openssl=openssl python3=python3 sha256sum=coreutils gcc=gcc
    command -v cargo >/dev/null || { say "Rust is not installed"; exit 2; }
    build_crate rust
}

set_up_ours() { :; }

set_up_mssql-tds() {
    need pkg-config=pkg-config /usr/include/openssl/ssl.h=libssl-dev
    build_crate mssql-tds
}

set_up_mssql-client() { build_crate mssql-client; }

set_up_jdbc() {
    need mvn=maven javac=openjdk-17-jdk-headless
    [ -f "$cache/jdbc/$jdbc" ] ||
        mvn --quiet --batch-mode dependency:copy -Dartifact="$jdbc_coordinates" \
            -DoutputDirectory="$cache/jdbc" >&2
    check_sum "$cache/jdbc/$jdbc" "$jdbc_sum"
    mkdir -p "$cache/jdbc/classes"
    javac -cp "$cache/jdbc/$jdbc" -d "$cache/jdbc/classes" "$here/jdbc/Interop.java"
}

set_up_odbc() {
    local folder=$cache/odbc gssapi
    gssapi=/usr/lib/$(uname -m)-linux-gnu/libgssapi_krb5.so.2
    need gcc=gcc /usr/include/sql.h=unixodbc-dev /usr/include/openssl/ssl.h=libssl-dev \
        "$gssapi=libgssapi-krb5-2"
    python3 -m pip --version >/dev/null 2>&1 || need /usr/bin/pip3=python3-pip
    [ -f "$folder/$odbc" ] ||
        python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --dest "$folder" "$odbc_requirement" >&2
    check_sum "$folder/$odbc" "$odbc_sum"
    # The driver finds its messages relative to itself, so the tree stays as it is.
    [ -f "$folder/wheel/$odbc_library" ] || python3 -m zipfile -e "$folder/$odbc" "$folder/wheel"
    mkdir -p "$folder/ini"
    printf '[ODBC Driver 18 for SQL Server]\nDriver=%s\n' "$folder/wheel/$odbc_library" \
        >"$folder/ini/odbcinst.ini"
    gcc -Wall -Wextra -fshort-wchar -fPIC -shared -o "$folder/keystore.so" \
        "$here/odbc/keystore.c" -lcrypto
    gcc -D_GNU_SOURCE -Wall -Wextra -O1 -o "$folder/interop" "$here/odbc/interop.c" -lodbc -ldl
}

set_up_go() {
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    # The one of Debian 12 is too old.
    command -v go >/dev/null || { say "Go 1.25 or later is not installed; leave it out by naming the others"; exit 2; }
    # The version and the sum of the driver are those of go.mod and go.sum.
    mkdir -p "$cache/go"
    (cd "$here/go" && GOFLAGS=-mod=readonly go build -o "$cache/go/interop" .)
}

set_up() { # DRIVER...
    local driver
    mkdir -p "$cache"
    say "building the server and our own program"
    set_up_server
    for driver in "$@"; do
        say "setting up $driver"
        "set_up_$driver"
    done
}

# Other ways than its plainest in which a driver writes.
forms() { # DRIVER
    case $1 in
    ours) printf '%s\n' ours.procedure ours.bulk ;;
    odbc) printf '%s\n' odbc.prepared odbc.procedure odbc.bulk ;;
    mssql-tds) printf '%s\n' mssql-tds.prepared mssql-tds.procedure mssql-tds.bulk ;;
    jdbc) printf '%s\n' jdbc.prepared jdbc.batch jdbc.procedure jdbc.bulk ;;
    go | mssql-client) printf '%s\n' "$1.procedure" ;;
    esac
}

# Other ways than its plainest in which a driver reads: by an output parameter.
reading_forms() { # DRIVER
    case $1 in
    ours | odbc | mssql-tds | jdbc) printf '%s\n' "$1.procedure" ;;
    esac
}

drive() { # DRIVER[.FORM] MODE [FOLDER [CASES]]
    local driver=${1%%.*} folder=${3:-$work}
    local arguments=("$2" "$folder" "${4:-$folder/cases.tsv}" "${WRITER:-$1}")
    case $driver in
    ours | mssql-tds | mssql-client) "$CARGO_TARGET_DIR/debug/interop-$driver" "${arguments[@]}" ;;
    jdbc) java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -cp "$cache/jdbc/$jdbc:$cache/jdbc/classes" Interop "${arguments[@]}" ;;
    odbc)
        ODBCSYSINI=$cache/odbc/ini KEYSTORE=$cache/odbc/keystore.so INTEROP_CMK=$folder/cmk.pem \
            DRIVER=$cache/odbc/wheel/$odbc_library "$cache/odbc/interop" "${arguments[@]}"
        ;;
    go) "$cache/go/interop" "${arguments[@]}" ;;
    *) say "no such driver: $1"; return 2 ;;
    esac
}

stop_all() {
    local process
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
    done
}
started=()
trap stop_all EXIT

wait_for() { # FILE PROCESS LOG
    local _
    for _ in $(seq 300); do
        [ -f "$1" ] && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    say "$1 did not come:"
    cat "$3" >&2
    exit 1
}

start_server() { # CASES_JSON
    rm -rf "$work"
    mkdir -p "$work"
    "$here/prepare-cases" <"$1" >"$work/cases.tsv"
    "$CARGO_TARGET_DIR/debug/interop-server" --dir "$work" --cases "$work/cases.tsv" \
        >"$work/server.log" 2>&1 &
    started+=($!)
    wait_for "$work/port" "${started[-1]}" "$work/server.log"
}
