"""The course as autograder zips for Gradescope, one for each chapter.

A zip holds the package (without answers), the versions that the course is tested on, and two
scripts: setup.sh, which Gradescope runs once, and run_autograder, which it runs for every
submission. harness.py is what that script starts.
"""

import io
import json
import re
import tomllib
import zipfile

from lora_course.grading.exports.sources import ROOT, refuse_to_replace
from lora_course.grading.run import check_variants, read_secret
from lora_course.plumbing.files import write_atomically

NOT_NEEDED = {"jupyterlab", "ipywidgets"}  # for people, not for a grader
SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder is built.
set -euo pipefail
ROOT="${AUTOGRADER_ROOT:-/autograder}"
PYTHON=""
for name in python3.13 python3.12 python3.11 python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then PYTHON="$name"; break; fi
done
if [ -z "$PYTHON" ]; then
    apt-get update
    for name in python3.13 python3.12 python3.11; do
        if apt-get install -y "$name" "$name-venv"; then PYTHON="$name"; break; fi
    done
fi
[ -n "$PYTHON" ] || { echo "Python 3.11 or newer is needed: choose Ubuntu 24.04"; exit 1; }
"$PYTHON" -m venv "$ROOT/venv"
cd "$ROOT/source"
# First torch, from the index of its small CPU build; then the rest in the tested versions.
"$ROOT/venv/bin/pip" install --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \\
    "$(grep '^torch==' requirements.txt)"
"$ROOT/venv/bin/pip" install --constraint requirements.txt --requirement packages.txt
"$ROOT/venv/bin/python" -c 'import torch, transformers, peft'
"""
RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for every submission, in a container of its own.
set -u
ROOT="${AUTOGRADER_ROOT:-/autograder}"
export PYTHONPATH="$ROOT/source/course" HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
exec "${AUTOGRADER_PYTHON:-$ROOT/venv/bin/python}" -P -m lora_course.grading.exports.harness "$ROOT"
"""


def export(folder, sources, secret=None, variants=()):
    """Writes the zips into `folder`; returns sentences about them.

    secret: path of a file, or None. variants: such as "lora_linear=rslora". Raises NoExport and
    OSError, and run.CannotGrade for a secret or a variant that cannot be used.
    """
    key = read_secret(secret)
    check_variants(variants)
    targets = {path: folder / f"{path.stem}.zip" for path in sources}
    refuse_to_replace(targets.values())
    for path, target in targets.items():
        write_atomically(target, autograder(path.stem, key, variants))
    said = "They hold your secret: keep them to yourself." if key else ""
    return [
        *(f"{target} is ready." for target in targets.values()),
        "On Gradescope: Create Assignment, Programming Assignment, Configure Autograder, upload "
        "the zip, base image Ubuntu 24.04, container with 4 GB of memory or more.",
        *([said] if said else []),
    ]


def autograder(assignment, secret=None, variants=()):
    """One zip as bytes; the same input makes the same bytes."""
    about = {"chapter": assignment[:2], "assignment": assignment, "variants": list(variants)}
    files = {
        "setup.sh": SETUP,
        "run_autograder": RUN,
        "assignment.json": json.dumps(about, indent=1),
        "packages.txt": package_names(),
        "requirements.txt": (ROOT / "requirements.txt").read_bytes(),
        **({"secret": secret} if secret else {}),
    }
    parts = ("lora_course/**/*.py", "lora_course/base/*", "exercises/*.ipynb")
    for path in sorted(path for part in parts for path in ROOT.glob(part)):
        files[f"course/{path.relative_to(ROOT).as_posix()}"] = path.read_bytes()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if name in ("setup.sh", "run_autograder") else 0o644
            entry.external_attr = (0o100600 if name == "secret" else 0o100000 | mode) << 16
            archive.writestr(entry, data)
    return made.getvalue()


def package_names():
    """Names of the packages to install; requirements.txt says in which versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]]
    return "".join(f"{name}\n" for name in names if name not in NOT_NEEDED)
