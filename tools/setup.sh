# Shared by ./quickstart and ./check: installing what is missing, building. Sourced, not run.
# Debian 12 and 13; Ubuntu 24.04 by the same names (untested).

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# HOME is where PyPI files are unpacked and ccache lives; some runners leave it unset.
if [ -z "${HOME:-}" ]; then
  HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
  export HOME
fi
export CCACHE_DIR="${CCACHE_DIR:-$HOME/.cache/ccache}"

build_packages="g++ cmake ninja-build python3 python3-pip ca-certificates libssl-dev nlohmann-json3-dev libpcre2-dev
  libutf8proc-dev libprotobuf-dev protobuf-compiler libspdlog-dev libfmt-dev libtomlplusplus-dev libexpected-dev"
run_packages="poppler-utils poppler-data"   # pdftotext reads PDFs that people give to the page
test_packages="libgtest-dev libgmock-dev python3-venv ccache git curl chromium fonts-noto-cjk
  supervisor nginx-light systemd openssl"
fuzz_packages="clang-19 libclang-rt-19-dev"   # of ./check --full
machine_packages="systemd-container"          # of ./check --full, which boots a systemd

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Boost's package carries its version in its name, 1.81 or newer will do.
boost_package() {
  local installed
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libboost1.8*-dev' 'libboost1.9*-dev' 2>/dev/null |
              sed -n 's/^installed \(libboost1\.[89][0-9]-dev\)$/\1/p' | sort -V | tail -n 1)
  [ -n "$installed" ] || installed=$(apt-cache pkgnames libboost1. | grep -E '^libboost1\.(8[1-9]|9[0-9])-dev$' |
                                     sort -V | head -n 1)
  printf '%s' "${installed:-libboost-dev}"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "installing packages needs root: run this as root, install sudo, or install them yourself: $*"
  fi
}

# Installs those of the named packages that are missing.
install_packages() {
  local missing="" package
  for package in "$@"; do is_installed "$package" || missing="$missing $package"; done
  case "$(boost_package)" in
    libboost-dev) boost_is_there=false ;;
    *) is_installed "$(boost_package)" && boost_is_there=true || boost_is_there=false ;;
  esac
  if [ -z "$missing" ] && $boost_is_there; then return 0; fi
  command -v apt-get >/dev/null ||
    die "this system has no apt-get; install the equivalents of:$missing libboost (1.81 or newer)"
  as_root apt-get update -q
  $boost_is_there || missing="$missing $(boost_package)"
  echo "installing$missing"
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

num_jobs() { nproc; }

# build PRESET FOLDER TARGETS...: configures where that was never done (or failed), then builds.
build() {
  local preset=$1 folder=$2
  shift 2
  [ -f "$folder/build.ninja" ] || cmake --preset "$preset" -B "$folder" >"$folder.log" 2>&1 ||
    { cat "$folder.log"; rm -f "$folder.log"; return 1; }
  rm -f "$folder.log"
  ninja -C "$folder" -j "$(num_jobs)" "$@"
}
