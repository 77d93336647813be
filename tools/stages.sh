# The stages of ./check: running them, counting their tests, saying at the end what failed. Sourced behind setup.sh.

passed=0
failed=0
failures=""
unsteady=""
num_unsteady=0
output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

count() {   # count PASSED FAILED STAGE [LOG]
  passed=$((passed + $1))
  failed=$((failed + $2))
  [ "$2" = 0 ] && return
  failures="$failures
  $3: $2 failed"
  [ -z "${4:-}" ] || { printf '\n---- %s\n' "$3"; tail -n 80 "$4"; } >>"$output/failures.log"
}

# stage NAME COMMAND...: a stage that only succeeds or fails, and counts as one test.
stage() {
  local name=$1
  shift
  say "$name"
  if "$@"; then count 1 0 "$name"; else count 0 1 "$name"; return 1; fi
}

# A runner that broke down without counting is a failure, and so is one that ran nothing.
count_run() {   # count_run NAME PASSED FAILED STATUS LOG
  local name=$1 ok=${2:-0} bad=${3:-0} status=$4
  if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$ok" = 0 ]; }; then bad=1; fi
  count "$ok" "$bad" "$name" "$5"
}

# A machine that is busy with something else can break a test of processes and times. Up to three failures of a whole
# check get a second run, alone; what passes then counts, but is told of at the end: a bug to be mended, of the test or
# of what it tests. What a sanitizer has found stays a failure.
may_run_again() {   # may_run_again FAILED LOG
  [ "$1" -gt 0 ] && [ $((num_unsteady + $1)) -le 3 ] &&
    ! grep -qE '(Address|Leak|Thread)Sanitizer|: runtime error: ' "$2"
}

remember_unsteady() {   # remember_unsteady FAILED STAGE LOG
  num_unsteady=$((num_unsteady + $1))
  unsteady="$unsteady
  $2: $1"
  { printf '\n---- %s: the first run\n' "$2"; tail -n 80 "$3"; } >>"$output/unsteady.log"
}

ctest_stage() {   # ctest_stage NAME FOLDER [ctest options]
  local name=$1 folder=$2 log status total bad
  shift 2
  say "$name"
  log="$output/ctest.log"
  ctest --test-dir "$folder" -j "$(num_jobs)" --output-on-failure --no-tests=error "$@" >"$log" 2>&1
  status=$?
  read -r bad total < <(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log")
  if [ "$status" = 0 ]; then
    tail -n 3 "$log"
  else
    grep -vE '^ *[0-9]+/[0-9]+ Test .* Passed|^ +Start ' "$log" | tail -n 400
  fi
  if may_run_again "${bad:-0}" "$log" &&
      ctest --test-dir "$folder" --rerun-failed --output-on-failure --no-tests=error "$@"; then
    remember_unsteady "$bad" "$name" "$log"
    bad=0 status=0
  fi
  count_run "$name" "$((${total:-0} - ${bad:-0}))" "${bad:-0}" "$status" "$log"
}

run_pytest() {
  TESTS_INSIST_ON_SDKS=1 .venv/bin/python -m pytest -q --color=no -o cache_dir="$output/pytest" "$@"
}

pytest_stage() {   # pytest_stage NAME pytest-arguments...
  local name=$1 log status ok bad errors
  shift
  say "$name"
  log="$output/pytest.log"
  run_pytest --cache-clear "$@" 2>&1 | tee "$log" | tail -n 200
  status=${PIPESTATUS[0]}
  ok=$(sed -nE '$ s/.*\b([0-9]+) passed.*/\1/p' "$log")
  bad=$(sed -nE '$ s/.*\b([0-9]+) failed.*/\1/p' "$log")
  errors=$(sed -nE '$ s/.*\b([0-9]+) errors?.*/\1/p' "$log")
  bad=$((${bad:-0} + ${errors:-0}))
  if may_run_again "$bad" "$log" && run_pytest --last-failed --last-failed-no-failures none "$@"; then
    remember_unsteady "$bad" "$name" "$log"
    ok=$((${ok:-0} + bad)) bad=0 status=0
  fi
  count_run "$name" "${ok:-0}" "$bad" "$status" "$log"
}

# What failed is told once more at the end: of a long log people see that first, and often only that is kept.
finish() {
  [ ! -e "$output/failures.log" ] || cat "$output/failures.log"
  [ ! -e "$output/unsteady.log" ] || cat "$output/unsteady.log"
  [ -z "$unsteady" ] || printf '\nUnsteady: failed at first, passed in a second run alone. Mend them:%s\n' "$unsteady"
  [ -z "$failures" ] || printf '\nFailed stages:%s\n' "$failures"
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}
