#!/usr/bin/env bash
# Makes requirements-cpu.txt and requirements-gpu.txt anew: what pyproject.toml asks for in the versions of
# constraints.txt, each with its hashes, for the image's Python on Linux x86_64. Versions that constraints.txt does not
# name stay as they are in the files; delete the files to have the newest.
#
#   cluster/image/lock.sh [FOLDER]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here}")
cd "$here/../.."
PYTHON=$(sed -n 's/^PYTHON=//p' cluster/versions.env)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9

# What torch without CUDA asks for. Its wheel is not on PyPI; torch-cpu.txt names it.
torch=$(sed -n 's/^torch==//p' constraints.txt)
cat > "$scratch/cpu.toml" <<END
[[dependency-metadata]]
name = "torch"
version = "$torch"
requires-dist = ["filelock", "typing-extensions>=4.10.0", "setuptools>=77.0.3", "sympy>=1.13.3", "networkx>=2.5.1", "jinja2",
    "fsspec>=0.8.5"]
END
touch "$scratch/gpu.toml"

lock() {
    local variant=$1
    shift
    "$scratch/venv/bin/uv" pip compile --quiet --config-file "$scratch/$variant.toml" pyproject.toml \
        --extra aws --extra azure --extra gcs --extra heic --constraint constraints.txt \
        --python-version "$PYTHON" --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes \
        --custom-compile-command cluster/image/lock.sh --output-file "$out/requirements-$variant.txt" "$@"
}

lock gpu
lock cpu --no-emit-package torch
sed -i '1i -r torch-cpu.txt' "$out/requirements-cpu.txt"
