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

has_cuda_toolkit() {
  [ -x /usr/local/cuda/bin/nvcc ] || [ -x "${CUDA_HOME:-}/bin/nvcc" ] || command -v nvcc >/dev/null
}
least_driver=580   # of the compiler that is fetched where there is none: CUDA 13

# The architectures that kernels have to be compiled for here, as CMake wants them: of the NVIDIA cards that nvidia-smi
# names. Empty where there is none that gale can use, and then standard error says why. Kernels of sm_90a are always
# among them, because the program holds all variants and chooses when it starts.
card_architectures() {
  command -v nvidia-smi >/dev/null || return 0
  local cards capability driver name architectures=""
  cards=$(nvidia-smi --query-gpu=compute_cap,driver_version,name --format=csv,noheader 2>&1) ||
    { echo "nvidia-smi does not work, so gale is built for the processor: $cards" >&2; return 0; }
  while IFS=, read -r capability driver name; do
    case "$capability" in
      9.0) architectures="$architectures 90a-real" ;;
      8.9) architectures="$architectures 89-real 90a-real" ;;
      8.*) architectures="$architectures 80-real 90a-real" ;;
      "") continue ;;
      *) echo "there are no kernels for$name (compute capability $capability): 8.x and 9.0 have some" >&2 ;;
    esac
  done <<<"$cards"
  [ -n "$architectures" ] || return 0
  driver=$(sed -nE '1s/^[^,]*, *([0-9]+).*/\1/p' <<<"$cards")
  if ! has_cuda_toolkit && [ "${driver:-0}" -lt $least_driver ]; then
    echo "driver ${driver:-?} is too old for the compiler that would be fetched ($least_driver or newer), there is" \
      "no CUDA toolkit: gale is built for the processor; update the driver, or install the toolkit that fits it" >&2
    return 0
  fi
  # shellcheck disable=SC2086
  printf '%s\n' $architectures | sort -u | paste -sd ';'
}

# Configures FOLDER for the cards of this machine; nothing to do where it is already.
configure_for_cards() {   # configure_for_cards FOLDER ARCHITECTURES
  local folder=$1 architectures=$2 cache="$1/CMakeCache.txt" jobs
  ! { grep -qsx "GALE_CUDA_ARCHITECTURES:STRING=$architectures" "$cache" &&
    grep -qsx 'GALE_WITH_CUDA:BOOL=ON' "$cache"; } || return 0
  # A heavy kernel takes gigabytes of compiler memory.
  jobs=$(($(sed -nE 's/^MemAvailable: *([0-9]+) kB$/\1/p' /proc/meminfo) / 4000000))
  jobs=$((jobs < 1 ? 1 : jobs > $(num_jobs) ? $(num_jobs) : jobs))
  cmake --preset release-cuda -B "$folder" "-DGALE_CUDA_ARCHITECTURES=$architectures" -DGALE_FETCH_CUDA=ON \
    "-DGALE_CUDA_JOBS=$jobs" >"$folder.log" 2>&1 ||
    { cat "$folder.log"; rm -f "$folder.log" "$cache"; return 1; }   # or it would look configured the next time
  rm -f "$folder.log"
}
