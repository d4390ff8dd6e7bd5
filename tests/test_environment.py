"""Set-up files hold together: pins, conda, Makefile, CI on three systems, README's commands."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {
    "Linux": {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macOS": {"sys_platform": "darwin", "os_name": "posix", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "os_name": "nt", "platform_machine": "AMD64"},
}
PYTHONS = ("3.11", "3.12", "3.13")
ENVIRONMENTS = [
    {**system, "python_version": v, "python_full_version": f"{v}.7", "platform_system": name}
    for name, system in SYSTEMS.items()
    for v in PYTHONS
]


def text(name):
    return (ROOT / name).read_text("utf-8")


def project():
    return tomllib.loads(text("pyproject.toml"))["project"]


def pins(environment=None):
    """{package: version} of requirements.txt for one environment (default: this one)."""
    lines = [line for line in text("requirements.txt").splitlines() if line[:1].isalnum()]
    rules = [Requirement(line) for line in lines]
    return {
        canonicalize_name(rule.name): str(rule.specifier).removeprefix("==")
        for rule in rules
        if rule.marker is None or rule.marker.evaluate(environment)
    }


def ranges():
    declared = project()
    extras = declared["optional-dependencies"]
    return list(map(Requirement, [*declared["dependencies"], *extras["dev"], *extras["edge"]]))


def test_requirements_are_exact_and_name_no_place():
    for line in text("requirements.txt").splitlines():
        if line.lstrip().startswith("#"):
            continue
        assert re.match(r"^[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?$", line), line
    for word in ("://", "--", "@", "+cpu", "nvidia", "triton", "/"):
        assert word not in re.sub(r"^ *#.*$", "", text("requirements.txt"), flags=re.M)


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: f"{e['platform_system']}-{e['python_version']}"
)
def test_every_range_has_one_pin_inside_it_everywhere(environment):
    found = pins(environment)
    for rule in ranges():
        assert rule.specifier.contains(found[canonicalize_name(rule.name)]), rule
    assert ("colorama" in found) == ("pywinpty" in found) == (environment["os_name"] == "nt")
    assert ("pexpect" in found) == (environment["os_name"] == "posix")


def test_pins_are_closed():
    """What a pinned package requires here is pinned too, so that pip has nothing to choose."""
    from importlib import metadata

    found = pins()
    left_out = tomllib.loads(text("pyproject.toml"))["tool"]["uv"]["pip"]["no-emit-package"]
    for name in found:
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # test_installed_as_pinned tells
        for rule in map(Requirement, wanted):
            if rule.marker is None or rule.marker.evaluate({"extra": ""}):
                child = canonicalize_name(rule.name)
                assert child in found or child in left_out, f"{name} needs {child}"


def test_installed_as_pinned():
    """The tests run on the pinned set. (A local suffix such as +cpu is the same version.)"""
    from lora_course.learner import pins

    assert pins.differences() == []


def test_conda_takes_the_same_versions_through_pip():
    environment = yaml.safe_load(text("environment.yml"))
    assert environment["name"] == "lora-course"
    packages = environment["dependencies"]
    conda = [p for p in packages if isinstance(p, str)]
    assert [p.partition("=")[0] for p in conda] == ["python", "pip"], "versions belong to pip"
    assert conda[0].partition("=")[2] in PYTHONS
    (pip,) = (p["pip"] for p in packages if isinstance(p, dict))
    assert pip == ["-r requirements.txt", "-e ."]


def test_workflow_runs_three_systems_and_three_pythons():
    workflow = yaml.safe_load(text(".github/workflows/test.yml"))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == list(PYTHONS)
    assert [s.partition("-")[0] for s in job["strategy"]["matrix"]["os"]] == [
        "ubuntu",
        "macos",
        "windows",
    ]
    steps = job["steps"]
    for system in ("Linux", "macOS", "Windows"):
        own = [s for s in steps if system in s.get("if", "")]
        assert any("pytest" in s["run"] or s["run"] == ".ci/run" for s in own), system
    cpu = [s for s in steps if s.get("env", {}).get("TORCH_INDEX", "").endswith("/whl/cpu")]
    assert len(cpu) == 1 and "Linux" in cpu[0]["if"]
    windows = [s for s in steps if "Windows" in s.get("if", "")]
    for line in windows[0]["run"].splitlines():
        lesson = line.removeprefix("python ").removeprefix(".venv\\Scripts\\python ")
        assert lesson in text("README.md"), f"the README does not show: {line}"


def dry_run(target, *variables):
    done = subprocess.run(
        ["make", "--silent", "--dry-run", target, *variables],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "TEST_ARGS"))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def ready(tmp_path):
    """A folder that make takes for a finished environment."""
    stamp = tmp_path / ".installed"
    stamp.touch()
    later = (ROOT / "requirements.txt").stat().st_mtime + 9
    later = max(later, (ROOT / "pyproject.toml").stat().st_mtime + 9)
    os.utime(stamp, (later, later))
    return f"VENV={tmp_path}"


@needs_make
@pytest.mark.parametrize("target", ["lab", "test", "test-fast", "lint", "build", "doctor"])
def test_second_call_installs_nothing(ready, target):
    assert "pip" not in dry_run(target, ready)


def installs(tmp_path, *words, card=False, reachable=True):
    """(what pip is called with, what make says) when everything is installed for the first time."""
    log, tools = tmp_path / "calls", tmp_path / "tools"
    fail = "" if reachable else 'case "$*" in *whl/cpu*) exit 1;; esac\n'
    program(tmp_path / "bin" / "pip", f'#!/bin/sh\necho "$*" >> {log}\n{fail}')
    program(tmp_path / "bin" / "python", "#!/bin/sh\n")
    program(tools / "nvidia-smi", "#!/bin/sh\n")
    path = os.environ["PATH"] if not card else f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "--silent", "install", f"VENV={tmp_path}", f"PYTHON={sys.executable}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines(), done.stdout


@needs_make
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one torch")
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a card")
def test_first_call_installs_torch_first(tmp_path):
    (torch,) = re.findall(r"^torch==\S+", text("requirements.txt"), flags=re.M)
    small, plain = "--index-url https://download.pytorch.org/whl/cpu", f"install {torch}"
    rest = ["install -r requirements.txt", "install --no-deps -e ."]
    calls, said = installs(tmp_path / "1")
    assert small in calls[0] and calls[0].endswith(torch) and calls[1:] == rest
    assert said.startswith("No NVIDIA card found: the small torch.")
    calls, said = installs(tmp_path / "2", reachable=False)
    assert small in calls[0] and calls[1:] == [plain, *rest] and "does not answer" in said
    assert installs(tmp_path / "3", card=True) == ([plain, *rest], "")
    assert installs(tmp_path / "4", "TORCH_INDEX=default") == ([plain, *rest], "")
    calls, _ = installs(tmp_path / "5", "TORCH_INDEX=https://example.org/cpu")
    assert calls == [f"install --index-url https://example.org/cpu {torch}", *rest]


@needs_make
def test_lab_hands_its_arguments_on(ready):
    (line,) = dry_run("lab", ready, "LAB_ARGS=--no-browser").splitlines()
    assert line.endswith("/bin/lora-course lab --no-browser")


@needs_make
def test_one_offline_pytest_call_runs_everything(ready):
    (line,) = dry_run("test", ready).splitlines()
    settings = "OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE "
    line, kept, _ = line.partition("; code=$?")
    assert kept, "make test no longer keeps the exit code for .ci/run"
    assert line.startswith(settings)
    command = line.removeprefix(settings).split(maxsplit=1)[1]
    assert " ".join(command.split()) in text(".github/workflows/test.yml"), "Windows differs"
    assert line.endswith(" chapters solutions tests")
    assert "--nbval " in line and "-m pytest" in line


@needs_make
def test_old_python_is_refused_with_a_sentence(tmp_path):
    old = tmp_path / "python3"
    old.write_text(
        f"#!{sys.executable}\nimport sys\ncode = sys.argv[2]\n"
        "sys.version_info, sys.version = (3, 9, 1), '3.9.1 (old)'\nexec(code)\n"
    )
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}", f"VENV={tmp_path}/new"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr and "3.9.1" in done.stderr
    assert "make lab PYTHON=" in done.stderr
    assert not (tmp_path / "new").exists()


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@needs_make
@pytest.mark.parametrize("code", [0, 1, 5])
def test_make_keeps_the_exit_code_of_pytest(ready, tmp_path, code):
    program(tmp_path / "bin" / "python", f"#!/bin/sh\nexit {code}\n")
    command = ["make", "--silent", "test", ready, f"CODE={tmp_path}/code"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert bool(done.returncode) == bool(code)
    assert (tmp_path / "code").read_text() == f"{code}\n"


FAKE = """#!/bin/sh
for word in "$@"; do case $word in CODE=*) file=${word#CODE=};; esac; done
case "$*" in
    *install*) exit INSTALL;;
    *) echo "== 1 failed, 2 passed in 3.45s =="; echo "a later word" >&2; KEEP; exit 2;;
esac
"""


@pytest.mark.skipif(os.name == "nt", reason="bash script")
@pytest.mark.parametrize(
    "install, kept, code", [(0, 0, 0), (0, 1, 1), (0, 5, 5), (3, 0, 1), (0, None, 1)]
)
def test_ci_script_ends_with_pytest_s_line_and_code(tmp_path, install, kept, code):
    keep = ":" if kept is None else f"echo {kept} > $file"
    program(tmp_path / "bin" / "make", FAKE.replace("INSTALL", str(install)).replace("KEEP", keep))
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        [str(ROOT / ".ci" / "run")],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == code, done.stderr
    if install == 0 and kept is not None:
        assert done.stdout.splitlines()[-1] == "== 1 failed, 2 passed in 3.45s =="


def test_readme_commands_exist():
    readme = text("README.md")
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.M))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", readme)) - {"sure"}
    assert {"lab", "test"} <= named <= targets
    for path in re.findall(r"\]\(([^)#]+)\)", readme):
        if "://" not in path:
            assert (ROOT / path).exists(), path
    assert "https://download.pytorch.org/whl/cpu" in readme
    assert "conda env create -f environment.yml" in readme


def test_the_small_torch_stands_before_what_would_bring_the_large_one():
    """In every block of README that installs with pip on Linux: no card, no gigabytes for one."""
    blocks = re.findall(r"<details>.*?</details>", text("README.md"), flags=re.S)
    installs = r"conda env create|pip install -r|pip install lora-course "
    blocks = [b for b in blocks if re.search(installs, b) and "PowerShell" not in b]
    assert len(blocks) == 3
    for block in blocks:
        small = block.find("https://download.pytorch.org/whl/cpu")
        named = "in front of the first line" in block  # conda reads a variable
        assert named or 0 <= small < re.search(installs, block).start(), block


def test_readme_links_every_chapter_and_no_other():
    written = {f"chapters/{p.stem}.ipynb" for p in (ROOT / "chapters" / "source").glob("*.py")}
    assert set(re.findall(r"\((chapters/\S+\.ipynb)\)", text("README.md"))) == written


def test_licenses():
    assert "Apache License" in text("LICENSE") and "END OF TERMS" in text("LICENSE")
    assert "CC BY 4.0" in text("LICENSE-text")
    assert project()["license-files"] == ["LICENSE", "LICENSE-text"]


def test_command_line_entry_point():
    from importlib import import_module

    module, _, function = project()["scripts"]["lora-course"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_import_is_fast_and_light():
    code = (
        "import sys, time; t = time.perf_counter(); import lora_course;"
        "d = time.perf_counter() - t; heavy = {'torch', 'transformers', 'matplotlib', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); assert d < 0.2, d"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
