"""Tables of `gale tune` and a digest of the kernels as one source file of layer cuda:
embed_kernel_tables.py OUTPUT TABLES SOURCE …
TABLES is the folder of committed tables; the digest is of the SOURCEs, so that a table that was measured with other
kernels is noticed."""

import hashlib
import sys
from pathlib import Path


def digest_of(sources):
    whole = hashlib.sha256()
    for source in sorted(sources, key=lambda path: path.name):
        whole.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return whole.hexdigest()[:12]


def source_of(tables, digest):
    rows = "".join(
        f'    BuiltInTable{{"{table.name}", R"table({table.read_text(encoding="utf-8")})table"}},\n'
        for table in tables
    )
    return (
        '// Made by cmake/embed_kernel_tables.py.\n#include "backends/cuda/built_in_tables.h"\n\n#include <vector>\n\n'
        "namespace gale::cuda {\n\n"
        f'std::string_view kernels_version() {{ return "{digest}"; }}\n'
        "std::span<const BuiltInTable> built_in_tables() {\n"
        f"  static const std::vector<BuiltInTable> tables = {{\n{rows}  }};\n  return tables;\n}}\n\n"
        "}  // namespace gale::cuda\n"
    )


def main():
    output, tables, *sources = map(Path, sys.argv[1:])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(source_of(sorted(tables.glob("*.jsonl")), digest_of(sources)), encoding="utf-8")


if __name__ == "__main__":
    main()
