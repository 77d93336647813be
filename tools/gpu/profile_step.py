#!/usr/bin/env python3
"""Where a step's time goes: serves a model of random weights under load and writes down every kernel (by CUPTI).

    python3 tools/gpu/profile_step.py --gale PATH --model 9b|flash|46v --precision bf16|fp8 --users 1 64 128
        [--input 1024 --output 128] [--flags "…"] [--layers N] [--timeline FOLDER]

For each level: the SMs' clock and the power (the middle half of what nvidia-smi showed), then a median decode step and
a median mixed step (one with rows of a prompt), kernel by kernel: launches, microseconds by which they prolong the
step, share of it, and the time in which no kernel ran. Kernels start before their predecessors end (programmatic
launch): what a kernel adds is the time from the end of those before it to its own (these sum up to the step), beside it
stands how long it ran itself. FOLDER gets begin and end of each kernel of those steps, in microseconds. Needs g++ and
CUPTI (Python package nvidia-cuda-cupti).
"""

import collections
import pathlib
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile

from served_model import HERE, ServedModel, Watch, device_name, load_arguments

Kernel = collections.namedtuple("Kernel", "start end grid block name")


def build_tracer(folder):
    roots = [pathlib.Path(p) / "nvidia" for p in {sysconfig.get_paths()["purelib"], *sys.path} if p]
    folders = [p for root in roots for p in root.glob("cu*")]
    cupti = next((p for p in folders if (p / "include/cupti_activity.h").exists()), None)
    if cupti is None:
        raise SystemExit("no CUPTI: install the Python package nvidia-cuda-cupti")
    library = next((cupti / "lib").glob("libcupti.so.*"))
    cuda = next(
        (p for p in [pathlib.Path("/usr/local/cuda/include"), cupti / "include"] if (p / "crt").exists()), None
    )
    if cuda is None:
        raise SystemExit("no CUDA headers: install the CUDA toolkit")
    out = folder / "libkernel_trace.so"
    subprocess.run(
        [
            "g++",
            "-std=c++17",
            "-O2",
            "-shared",
            "-fPIC",
            f"-I{cuda}",
            f"-I{cupti / 'include'}",
            "-o",
            str(out),
            str(HERE / "kernel_trace.cpp"),
            f"-L{library.parent}",
            f"-l:{library.name}",
            f"-Wl,-rpath,{library.parent}",
        ],
        check=True,
    )
    return out


def short_name(name):
    name = re.sub(
        r"\((?!anonymous)[^()]*\)$", "", name.replace("(anonymous namespace)::", "").replace("void ", "", 1)
    )
    name = re.sub(r"gale::|cuda::|__nv_", "", name)
    return name if len(name) < 64 else name[:61] + "..."


def read_kernels(path):
    kernels = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.rstrip("\n").split(" ", 4)
            if len(words) == 5 and words[0].isdigit() and words[1].isdigit():  # else: cut off at the end
                start, end, grid, block, name = words
                kernels.append(Kernel(int(start), int(end), grid, int(block), short_name(name)))
    return sorted(kernels)


def split_steps(kernels):
    """A step begins with the embedding's gather; the gather of the head's rows is a few kernels before its end."""
    begins = [i for i, kernel in enumerate(kernels) if kernel.name.startswith("gather_kernel")]
    begins = [a for a, b in zip(begins, begins[1:]) if b - a > 8]
    return [kernels[a:b] for a, b in zip(begins, begins[1:])]


def num_rows(step):
    return int(step[0].grid.split("x")[0])


def busy_us(step):
    busy, until = 0, 0
    for kernel in step:
        busy += max(0, kernel.end - max(kernel.start, until))
        until = max(until, kernel.end)
    return busy / 1000


def span_us(step):
    return (max(k.end for k in step) - step[0].start) / 1000


def added_us(step):
    """By how much each kernel prolongs the step: 0 for one that ends before another that began earlier."""
    until = step[0].start
    for kernel in step:
        yield max(0, kernel.end - until) / 1000
        until = max(until, kernel.end)


def print_step(title, step):
    rows = collections.OrderedDict()
    for kernel, added in zip(step, added_us(step)):
        own = (kernel.end - kernel.start) / 1000
        rows.setdefault((kernel.name, kernel.grid, kernel.block), []).append((added, own))
    span, busy = span_us(step), busy_us(step)
    print(f"\n{title}: {span:.0f} us, {len(step)} kernels, no kernel runs for {span - busy:.0f} us")
    print(f"  {'share':>7}  {'adds':>11}  {'launches':>8} x {'adds':>7} {'runs':>8}  {'blocks':>12} x threads, name")
    for (name, grid, block), times in sorted(rows.items(), key=lambda row: -sum(added for added, _ in row[1])):
        total = sum(added for added, _ in times)
        if total * 400 >= span:
            print(
                f"  {100 * total / span:5.1f} %  {total:8.1f} us  {len(times):8d} x {total / len(times):7.2f}"
                f" {statistics.mean(own for _, own in times):8.2f}  {grid:>12} x {block:<4} {name}"
            )


def write_timeline(path, step):
    begin = step[0].start
    with open(path, "w", encoding="utf-8") as out:
        for k in step:
            times = f"{(k.start - begin) / 1000:10.2f} {(k.end - begin) / 1000:10.2f} {(k.end - k.start) / 1000:8.2f}"
            out.write(f"{times}  {k.grid:>12} x {k.block:<4} {k.name}\n")


def middle(values):
    if len(values) < 4:
        return "?"
    quarters = statistics.quantiles(values, n=4)
    return f"{quarters[0]:.0f} to {quarters[2]:.0f}"


def report(kernels, users, title, timeline):
    steps = split_steps(kernels)
    for kind, chosen in (
        ("decode", [s for s in steps if num_rows(s) == users]),
        ("mixed", [s for s in steps if num_rows(s) > users]),
    ):
        if not chosen:
            rows = collections.Counter(map(num_rows, steps)).most_common(8)
            print(f"{title}: no {kind} step among {len(steps)} of {len(kernels)} kernels; rows of steps: {rows}")
            continue
        chosen.sort(key=span_us)
        total = sum(map(span_us, chosen)) / 1e6
        print_step(
            f"{title}: {kind} step, median of {len(chosen)}, mean {1e6 * total / len(chosen):.0f} us",
            chosen[len(chosen) // 2],
        )
        slow = chosen[int(0.95 * (len(chosen) - 1))]
        print_step(f"{title}: {kind} step, slower than 95 of 100", slow)
        if timeline:
            name = f"{title.replace(',', '').replace(' ', '-')}-{kind}"
            write_timeline(timeline / f"{name}.txt", chosen[len(chosen) // 2])
            write_timeline(timeline / f"{name}-slow.txt", slow)


def main():
    arguments = load_arguments(128)
    arguments.add_argument("--timeline", type=pathlib.Path)
    options = arguments.parse_args()
    if options.timeline:
        options.timeline.mkdir(parents=True, exist_ok=True)
    print(device_name())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = {
            "CUDA_INJECTION64_PATH": str(build_tracer(folder)),
            "KERNEL_TRACE_FILE": str(folder / "kernels"),
        }
        for users in options.users:
            flags = f"--max-model-len {options.input + options.output + 64} {options.flags}"
            with ServedModel(
                options.gale, options.model, options.precision, flags, options.layers, environment
            ) as server:
                with Watch("clocks.sm", "power.draw") as watch:
                    server.bench(options.gale, users, users * 3, 1, options.input, options.output)
            traces = {trace: read_kernels(trace) for trace in folder.glob("kernels.*")}
            if not any(traces.values()):
                raise SystemExit(f"no kernel was traced: {len(traces)} processes loaded the tracer")
            title = f"{options.model} {options.precision}, {users} users"
            print(f"{title}: SMs at {middle(watch.seen['clocks.sm'])} MHz, {middle(watch.seen['power.draw'])} W")
            for trace, kernels in traces.items():
                if kernels:
                    report(kernels, users, title, options.timeline)
                trace.unlink()


if __name__ == "__main__":
    main()
