#!/usr/bin/env bash
# Packs xbench for a GPU machine without a network: sources, and wheels of what its Python lacks.
#
#   bash tests/gpu_pack.sh [FILE]     default: gpu-pack.tar.xz; needs pip and a package index
#
# There (Python 3.12 on Linux x86-64, with torch, torchvision, torchmetrics, accelerate, safetensors,
# numpy, matplotlib and jinja2, which are not in the archive):
#
#   python3 -m tarfile -e gpu-pack.tar.xz && bash gpu-pack/install.sh
#   cd gpu-pack/xbench && PYTHON=../venv/bin/python bash tests/gpu.sh
#
# The installer makes a virtual environment that sees the machine's packages and changes none; pip
# adds only what is missing or too old. More than 55 MiB is an error. Wheels are stored without
# compression, so that the archive's own, which is better, works on them. Left out: what DICOM, CT,
# codecs, UMAP, Ray, Slurm and browsers need (but for pydicom, which the tests import), and published
# results. Of torch, 2.8 or later is enough. KEEP=folder keeps the wheels for another time.
set -eu
cd "$(dirname "$0")/.."
FILE=$(realpath -m "${1:-gpu-pack.tar.xz}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export WORK FILE KEEP=${KEEP:-$WORK/kept}
mkdir -p "$WORK/gpu-pack/xbench" "$KEEP"
git archive HEAD -- benchmark methods datasets tests pyproject.toml README.md LICENSE |
  tar x -C "$WORK/gpu-pack/xbench"

cat >"$WORK/gpu-pack/install.sh" <<'INSTALL'
#!/usr/bin/env bash
# Makes gpu-pack/venv; PYTHON names the interpreter that has torch (default: python3).
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
"$PYTHON" -m venv --system-site-packages --without-pip venv
add() { "$PYTHON" -m pip --python venv/bin/python install --no-index --find-links wheels "$@"; }
# With dependencies, so that what is there is used; if they cannot be met offline, every wheel.
add -r wanted.txt || add --no-deps --ignore-installed wheels/*.whl
place=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/xbench
rm -rf "$place" && mkdir "$place"
ln -s "$PWD"/xbench/benchmark/* "$PWD/xbench/methods" "$PWD/xbench/datasets" "$place"/
venv/bin/python -P -m xbench.cli doctor --out /tmp || echo "see the failures above"
INSTALL

"${PYTHON:-python}" - <<'PYTHON'
import os, subprocess, sys, tarfile, zipfile
from email.parser import HeaderParser
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

# What xbench and its tests import beside what is there.
WANTED = (
    "diffusers clean-fid scikit-image scipy pandas seaborn typer rich pydantic platformdirs pooch "
    "requests tifffile psutil regex pydicom pytest pytest-benchmark"
).split()
# There with torch, torchvision, torchmetrics, accelerate, matplotlib and jinja2; hf-xet only serves
# downloads.
THERE = {
    *"torch torchvision torchmetrics accelerate safetensors numpy matplotlib jinja2".split(),
    *"markupsafe pillow sympy mpmath networkx triton setuptools fsspec hf-xet".split(),
}
LIMIT = 55 * 2**20
TAGS = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 26, 24, 17)]
PLATFORMS = [w for tag in [*TAGS, "manylinux2014_x86_64"] for w in ("--platform", tag)]
# Of the other machine; the archive is made on any.
THEN = {
    "python_version": "3.12", "python_full_version": "3.12.3", "extra": "",
    "implementation_name": "cpython", "platform_python_implementation": "CPython",
    "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64",
    "os_name": "posix",
}
work, kept, file = (Path(os.environ[name]) for name in ("WORK", "KEEP", "FILE"))
pack = work / "gpu-pack"
(pack / "wheels").mkdir()
(pack / "wanted.txt").write_text("\n".join(WANTED) + "\n")


def download(requirements):
    """Wheels of these alone: with their dependencies, pip would fetch torch and CUDA."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
         "--python-version", "3.12", "--implementation", "cp", *PLATFORMS,
         "--dest", str(kept), *requirements],
        check=True,
    )


def needed(wheel):
    """The dependencies that a wheel states."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = [n for n in content.namelist() if n.endswith(".dist-info/METADATA")]
        lines = HeaderParser().parsestr(content.read(name).decode()).get_all("Requires-Dist") or []
    found = map(Requirement, lines)
    return [one for one in found if one.marker is None or one.marker.evaluate(THEN)]


def here():
    return {canonicalize_name(parse_wheel_filename(p.name)[0]): p for p in kept.glob("*.whl")}


todo, known = {canonicalize_name(name): name for name in WANTED}, set(THERE)
while todo:
    missing = [text for name, text in todo.items() if name not in here()]
    if missing:
        download(missing)
    known |= set(todo)
    wheels = here()
    found = [one for name in todo for one in needed(wheels[name])]
    todo = {
        canonicalize_name(one.name): f"{one.name}{one.specifier}"
        for one in found
        if canonicalize_name(one.name) not in known
    }
chosen = {name: path for name, path in here().items() if name in known - THERE}
for path in chosen.values():
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(pack / "wheels" / path.name, "w") as new:
        for item in old.infolist():
            new.writestr(item.filename, old.read(item), zipfile.ZIP_STORED)
with tarfile.open(file, "w:xz", preset=6) as archive:
    archive.add(pack, "gpu-pack")
for name, path in sorted(chosen.items(), key=lambda pair: -pair[1].stat().st_size)[:8]:
    print(f"{path.stat().st_size / 2**20:6.1f} MiB {name}")
size = file.stat().st_size
print(f"{size / 2**20:.1f} MiB: {file}, {len(chosen)} wheels and the sources")
if size > LIMIT:
    sys.exit(f"more than {LIMIT / 2**20:.0f} MiB")
PYTHON
