#!/usr/bin/env bash
# GPU day: proves, times and publishes xbench on a CUDA machine, within 8 minutes.
#
#   bash tests/gpu.sh                 results go to gpu-results/ (OUT=folder), runs to OUT.work/
#   REHEARSE=1 bash tests/gpu.sh      the same on a CPU with tiny sizes: its numbers mean nothing
#   STEPS="a c e" bash tests/gpu.sh   some of the steps:
#
#   a  what the machine is: driver, torch, memory, measured peaks of matrix products → machine.json
#   b  `pytest -m gpu` (tests/test_gpu.py)                                           → tests.xml
#   c  timings as ratios, forms of networks too (tests/benchmarks/gpu_timings.py)    → timings.json
#   d  MedShift, the diffusion model and CycleGAN on one pair at `standard` for a fixed time each,
#      with budgets from c's timings (tests/benchmarks/gpu_runs.py)           → runs.json, results/
#   e  the page (tests/gpu_report.py)                                                → gpu.md
#
# Every step has a time limit and writes its results, its log (a.log …) and how it ended (a.json …)
# before the next one starts, so whatever stops the script leaves what was found. Step e also runs
# after each other step: gpu.md is always there. A step that failed (code 1) or ran out of time (code
# 124) stops no other; the exit code is 1 then. Started again, steps are repeated, but finished runs
# of step d are kept in OUT.work. PYTHON names the interpreter (default: python), PATIENCE a factor
# on all limits, for a machine that is busy.
#
# Without a network: tests/gpu_pack.sh makes the archive that such a machine needs. torch 2.8 or
# later is enough. Steps a, c and d ask for CUDA; nothing is fetched (XBENCH_OFFLINE=1), so metrics on
# pretrained weights stay empty where there are no weights.
# In a rehearsal, step b runs three methods and leaves out two processes at once. All of it:
#   XBENCH_GPU_REHEARSAL=1 pytest -m gpu
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-gpu-results}
STEPS=${STEPS:-a b c d e}
PYTHON=${PYTHON:-python}
export XBENCH_OFFLINE=1 REHEARSE=${REHEARSE:-}
export PYTHONFAULTHANDLER=1 # a step that runs out of time says in its log where it was

sees='import sys, torch; sys.exit(not torch.cuda.is_available())'
if [ -z "$REHEARSE" ] && ! "$PYTHON" -c "$sees"; then
  echo "no GPU that torch can use (or no torch): $PYTHON -m xbench.cli doctor says why" >&2
  echo "on a CPU: REHEARSE=1 bash tests/gpu.sh" >&2
  exit 2
fi
mkdir -p "$OUT" "$OUT.work" || exit 1
OUT=$(cd "$OUT" && pwd)
failed=0

if [ -n "$REHEARSE" ]; then
  export XBENCH_GPU_REHEARSAL=1 OMP_NUM_THREADS=1
  total=170 a=30 b=60 c=55 d=80 e=5
  chosen=(-k "(medshift or cyclegan or histogram or halved or grows or same_values or metrics or features) and not two_proc")
else
  unset XBENCH_GPU_REHEARSAL
  total=470 a=30 b=110 c=140 d=180 e=10
  chosen=()
fi
for limit in total a b c d e; do printf -v "$limit" %d $((${!limit} * ${PATIENCE:-1})); done

page() { timeout -k 5 "$e" "$PYTHON" tests/gpu_report.py "$OUT" >"$OUT/e.log" 2>&1; }

# step NAME COMMAND…: at most its limit, and what is left of the total. LIMIT in the command is that.
step() {
  local name=$1 limit=${!1} left=$((total - e - SECONDS)) began=$SECONDS code
  shift
  [[ " $STEPS " == *" $name "* ]] || return 0
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then
    code=124
    echo "no time was left" >"$OUT/$name.log"
  else
    echo "step $name: at most $limit s"
    timeout -s ABRT -k 5 "$limit" "${@/LIMIT/$((limit - 3))}" >"$OUT/$name.log" 2>&1
    code=$?
  fi
  [ "$code" -eq 137 ] && code=124
  printf '{"step": "%s", "code": %d, "seconds": %d, "limit": %d}\n' \
    "$name" "$code" $((SECONDS - began)) "$limit" >"$OUT/$name.json"
  [ "$code" -eq 0 ] || { failed=1; echo "step $name ended with $code, see $OUT/$name.log"; }
  page
}

# What an earlier start found must not be taken for what this one finds.
declare -A found=([a]=machine.json [b]=tests.xml [c]=timings.json [d]=runs.json [e]=gpu.md)
for name in $STEPS; do rm -f "$OUT/$name.json" "$OUT/$name.log" "$OUT/${found[$name]:-none}"; done
step a "$PYTHON" tests/benchmarks/gpu_machine.py "$OUT/machine.json"
# In a folder of its own: else pytest deletes those of earlier runs at its end, which may take long.
step b "$PYTHON" -P -m pytest -m gpu -q -p no:cacheprovider --junitxml="$OUT/tests.xml" \
  --basetemp="$OUT.work/pytest" "${chosen[@]}" tests/test_gpu.py
step c "$PYTHON" tests/benchmarks/gpu_timings.py "$OUT/timings.json"
step d "$PYTHON" tests/benchmarks/gpu_runs.py "$OUT" "$OUT.work" LIMIT
page || { failed=1; cat "$OUT/e.log"; }
echo "$OUT/gpu.md after $SECONDS s"
exit $failed
