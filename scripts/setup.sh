#!/usr/bin/env bash
# Installs what the build needs and is not there. Asks for nothing: it installs
# where it may (root, or sudo without a password) and else says what to run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

RUST_MINOR_MIN=94

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    if have dpkg-query; then
        dpkg-query -W -f='${Status}' libclang-dev 2>/dev/null | grep -q 'ok installed'
    else
        ldconfig -p 2>/dev/null | grep -q libclang
    fi
}

# Prints the packages whose part is missing.
missing_packages() {
    have cmake || echo cmake
    have clang || echo clang
    has_libclang || echo libclang-dev
    have git || echo git
    have make || echo make
    have g++ || echo g++
    have pkg-config || echo pkg-config
    python3 -c 'import pip' 2>/dev/null || echo python3-pip
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
        echo ca-certificates
}

# as_root COMMAND...: fails where that needs a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 \
        install -y --no-install-recommends "$@"
}

install_packages() {
    local packages
    packages=$(missing_packages | tr '\n' ' ')
    packages=${packages% }
    [ -n "$packages" ] || return 0
    have apt-get ||
        die "needs these Debian packages, or what your system calls them: $packages. Install them and run this again."
    may_be_root ||
        die "may not install packages here. Run this, then start again: sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages"
    say "installs with apt: $packages"
    # shellcheck disable=SC2086 # a list of names
    apt_install $packages >&2 ||
        die "apt could not install $packages; its message is above"
}

# Prints the minor version of cargo 1.x, nothing without cargo.
rust_minor() {
    local version
    version=$(cargo --version 2>/dev/null) || return 0
    version=${version#cargo 1.}
    echo "${version%%.*}"
}

install_rust() {
    local minor
    minor=$(rust_minor)
    [ "${minor:-0}" -lt "$RUST_MINOR_MIN" ] || return 0
    if [ -z "$minor" ] && ! have rustup && have apt-get && may_be_root &&
        [ -n "$(apt-cache search --names-only '^rustup$' 2>/dev/null)" ]; then
        say "installs with apt: rustup, and with rustup: the stable Rust toolchain"
        apt_install rustup >&2 || die "apt could not install rustup; its message is above"
        rustup default stable >&2 || die "rustup could not install the stable toolchain"
        minor=$(rust_minor)
    fi
    if [ -z "$minor" ] && have rustup; then
        die "there is no Rust toolchain. Run this, then start again: rustup default stable"
    fi
    [ -n "$minor" ] ||
        die "needs Rust 1.$RUST_MINOR_MIN or later and found none. Install it with rustup (see the Rust project's install page), then start again."
    [ "$minor" -ge "$RUST_MINOR_MIN" ] ||
        die "needs Rust 1.$RUST_MINOR_MIN or later and found 1.$minor. Run this, then start again: rustup update stable"
}

install_packages
install_rust
