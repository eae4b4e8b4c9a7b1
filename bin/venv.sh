# Sourced by bin/zmws and bin/test, which set `root`, the checkout's folder: makes $root/.venv.
#
# .venv/stamp is a copy of pyproject.toml, written when everything is installed, so that a changed
# pyproject.toml is installed anew and a .venv that was left half-made is made anew. .venv/stamp-dev is
# the same for the `dev` extra. .venv/root names the folder the .venv was made in: it works in no other.

say() { printf 'zmws: %s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

# venv_ready STAMP: whether .venv is complete and up to date.
venv_ready() {
    venv_whole && cmp -s "$root/pyproject.toml" "$root/.venv/$1"
}

# venv_whole: whether .venv was once complete, in this folder, and its Python is still there.
venv_whole() {
    made_in=
    [ -f "$root/.venv/stamp" ] && [ -x "$root/.venv/bin/python" ] || return 1
    IFS= read -r made_in < "$root/.venv/root" && [ "$made_in" = "$root" ]
}

# venv_make STAMP EXTRA: makes or mends .venv unless it is ready. EXTRA is "[typed]" or "[dev]".
venv_make() {
    venv_ready "$1" && return
    python=$(find_python) || exit 1
    [ -w "$root" ] || fail "cannot make $root/.venv: the folder is not writable by $(id -un 2>/dev/null || id -u)"
    # Two first runs at once: the second waits here, and finds it done. The system frees the lock when
    # the last process that has descriptor 9 open ends, however it ends, so no stale lock can be left.
    exec 9< "$root/bin/venv.sh"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null ||
        say "note: this file system knows no locks; do not start two first runs at once"
    venv_ready "$1" || venv_install "$1" "$2"
    exec 9<&-
}

venv_install() {
    if venv_whole; then
        say "pyproject.toml has changed or more is needed: installing into $root/.venv ..."
    else
        say "first use: making $root/.venv with $("$python" --version) ..."
        rm -rf "$root/.venv" || fail "cannot remove the unfinished $root/.venv; remove it by hand"
        have_ensurepip "$python" || install_ensurepip
        "$python" -m venv "$root/.venv" >&2 || fail "could not make $root/.venv; the reason stands above"
        printf '%s\n' "$root" > "$root/.venv/root"
    fi
    # Copied before the installation: should the file change during it, the next run does it again.
    cp "$root/pyproject.toml" "$root/.venv/stamp-new" || fail "cannot write into $root/.venv"
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$2" >&2 ||
        fail "could not install zmws into $root/.venv; the reason stands above"
    if [ "$1" != stamp ]; then
        cp "$root/.venv/stamp-new" "$root/.venv/stamp"
    fi
    mv -f "$root/.venv/stamp-new" "$root/.venv/$1"
}

# find_python: prints the newest Python from 3.11 on that can make a venv, else one that could.
find_python() {
    without_ensurepip=
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        # A name that is there may still be a shim that runs nothing, or an older Python.
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null || continue
        if have_ensurepip "$name"; then
            command -v "$name"
            return
        fi
        [ -n "$without_ensurepip" ] || without_ensurepip=$(command -v "$name")
    done
    [ -n "$without_ensurepip" ] ||
        fail "Python 3.11 or later is needed, and none was found on PATH (looked for python3.14 to python3.11, python3)"
    printf '%s\n' "$without_ensurepip"
}

# Debian and Ubuntu ship Python without the part that puts pip into a new venv.
have_ensurepip() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null
}

install_ensurepip() {
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "$python cannot make a venv: installing $package with apt-get ..."
        {
            apt_install "$package" || { apt-get update -qq && apt_install "$package"; } ||
                apt_install python3-venv
        } >&2 || :
    fi
    have_ensurepip "$python" ||
        fail "$python cannot make a venv; install its venv package (Debian, Ubuntu: apt-get install $package)"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1" </dev/null
}
