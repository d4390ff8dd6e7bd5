"""Copies the notebooks out of students' Git repositories: data to be graded, nothing that runs.

    python -m lora_course.grading.intake.classroom students.csv collected

students.csv has two columns, student and repository (an address that git can clone, or OWNER/NAME
on GitHub). Afterwards collected/STUDENT/ holds that student's notebooks; the folder is empty where
there are none. COLLECT_TOKEN, when set, is sent to GitHub only. Needs Python and git alone.
"""

import base64
import csv
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lora_course.grading.intake.find import DEEPEST, NOTEBOOKS
from lora_course.grading.results.harmless import folders, line

LARGEST = 20 << 20  # bytes of a notebook; the grader takes no larger one
SECONDS = 120  # for one repository
REPOSITORY = 1 << 30  # bytes of it, packed
# A repository may carry what git would run or follow: none of it is.
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.symlinks": "false",
    "core.fsmonitor": "false",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "submodule.recurse": "false",
    "filter.lfs.smudge": "",
    "filter.lfs.required": "false",
    "credential.helper": "",
}


def main(argv):
    """Collects; returns the exit status: 1 where no repository could be had, 2 for a bad table."""
    if len(argv) != 2:
        print(__doc__)
        return 2
    try:
        with open(argv[0], newline="", encoding="utf-8-sig") as file:
            rows = [r for r in csv.DictReader(file, skipinitialspace=True) if any(r.values())]
    except (OSError, ValueError, csv.Error) as error:  # ValueError: no UTF-8
        print(f"The table {argv[0]} cannot be read: {getattr(error, 'strerror', '') or error}.")
        return 2
    if any(not row.get("student") or not row.get("repository") for row in rows) or not rows:
        print(f"{argv[0]} needs the columns student and repository, and a value in each.")
        return 2
    names, had = folders(row["student"] for row in rows), 0
    for row in rows:
        target = Path(argv[1]) / names[row["student"]]
        target.mkdir(parents=True, exist_ok=True)
        said = clone_notebooks(row["repository"].strip(), target)
        had += bool(re.match(r"\d+ notebooks", said))
        print(f"{line(row['student'])}: {said}", flush=True)
    return 0 if had else 1


def clone_notebooks(repository, target, protocols=("https",)):
    """Copies the notebooks of one repository into the folder `target`; says how it went."""
    short = re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
    url = f"https://github.com/{repository}" if short else repository
    if url.partition(":")[0] not in protocols:
        return f"{line(url)} is no address of the kind https://"
    environment = git_environment(protocols)
    with tempfile.TemporaryDirectory() as folder:
        command = ["clone", "--quiet", "--bare", "--depth", "1", "--no-tags", "--", url, "."]
        try:
            git(folder, environment, *command)
            return copy(folder, environment, target)
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS} seconds"
        except subprocess.CalledProcessError as error:
            return f"cannot be cloned: {line(error.stderr.decode(errors='replace'))[-300:]}"


def git(folder, environment, *words):
    """What a command of git prints. Nothing of the repository is laid out as files."""
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        timeout=SECONDS,
        preexec_fn=_small if os.name == "posix" else None,
    )
    return done.stdout


def _small():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (REPOSITORY, REPOSITORY))


def copy(folder, environment, target):
    """Copies ordinary files *.ipynb, wherever they are; says how many, and what was left out."""
    count = left = 0
    try:
        rows = git(folder, environment, "ls-tree", "-r", "-l", "-z", "HEAD").split(b"\0")
    except subprocess.CalledProcessError as error:
        if b"HEAD" in error.stderr:
            return "0 notebooks, the repository is empty"
        raise
    for row in filter(None, rows):
        about, _, name = row.partition(b"\t")
        mode, kind, mark, size = about.split()
        path = os.fsdecode(name)
        parts = path.split("/")
        if kind != b"blob" or mode not in (b"100644", b"100755"):
            continue
        if not path.lower().endswith(".ipynb") or any(part[:1] in ("", ".") for part in parts):
            continue
        if int(size) > LARGEST or len(parts) > DEEPEST or count == NOTEBOOKS:
            left += 1
            continue
        goal = target.joinpath(*parts)
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_bytes(git(folder, environment, "cat-file", "blob", mark.decode()))
            count += 1
        except OSError:  # a name that this system cannot take
            left += 1
    more = f", {left} left out: too deep, too large, too many or oddly named" if left else ""
    return f"{count} notebooks{more}"


def git_environment(protocols=("https",)):
    """What git finds: no settings of anybody, those above, and the token for GitHub alone."""
    settings = {**SETTINGS, **{f"protocol.{name}.allow": "always" for name in protocols}}
    if token := os.environ.get("COLLECT_TOKEN"):
        said = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        settings["http.https://github.com/.extraheader"] = f"Authorization: Basic {said}"
    found = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_CONFIG_NOSYSTEM": "1"}
    return {**found, **quiet, "GIT_CONFIG_GLOBAL": os.devnull, "HOME": os.devnull}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
