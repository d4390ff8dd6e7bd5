"""ranks.py: meeting, leaving, launching; with processes that end, hang or are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from lora_course.fast import ranks

ROOT = Path(__file__).resolve().parent.parent
WHO = 'import os; os.write(1, (os.environ["RANK"] + " of 2\\n").encode())'
SLEEP = ("timeit", "-n1", "-r1", "-s", "import time", "time.sleep(100)")
BROKEN = ("[.../gloo/transport/tcp/pair.cc] closed", "NCCL error")
PLACE = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
# Processes that are forked, so that torch is imported once. Each prints to a file of its own.
FAMILY = """
import json, os, signal, sys, time, traceback
from lora_course.fast.ranks import join, leaving

def started(number, code):
    pid = os.fork()
    if pid:
        return pid
    for end in (1, 2):
        os.dup2(os.open(f"said {number}", os.O_CREAT | os.O_WRONLY), end)
    try:
        exec(code)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def line():  # from a rank, where it has begun
    return os.read(heard, 20).decode()

(heard, told), ended = os.pipe(), []
for number, code in enumerate(json.loads(sys.argv[1])):
    pid, began = started(number, code), time.monotonic()
    if "sleep" in code:
        rank = int(line())
        os.kill(pid, signal.SIGTERM if pid == rank else signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended.append([status, open(f"said {number}").read(), time.monotonic() - began])
print(json.dumps([*ended, rank]))
"""


def rank(body):
    """Code of a process that works with a second one, which is not there."""
    return f"with leaving(1, 2):\n    os.write(told, str(os.getpid()).encode())\n    {body}"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """{body or case: [exit code, stderr, seconds]} of ranks; "orphan": the ID of one."""
    bodies = [
        *(f"raise RuntimeError({c!r})" for c in BROKEN),
        "1 / 0",
        "raise RuntimeError('size')",
    ]
    cases = {body: rank(body).replace("os.write", "(lambda *a: 0)") for body in bodies}
    cases["waits"] = f"os.environ.update({PLACE}); join(True, seconds=2)"
    cases["asked"] = rank("time.sleep(100)")
    cases["launcher"] = f"started('orphan', {cases['asked']!r}); time.sleep(100)"
    command = [sys.executable, "-c", FAMILY, json.dumps([*cases.values()])]
    place = {"cwd": tmp_path_factory.mktemp("ranks"), "timeout": 100}
    place["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, **place)
    return dict(zip([*cases, "orphan"], json.loads(done.stdout), strict=True))


def gone(pid, seconds=20):
    """True when the process ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.2)
    return False


# Meeting
def test_alone_nobody_is_waited_for(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks.join(cpu=True) == (0, 1, torch.device("cpu"))
    assert not torch.distributed.is_initialized()


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 ranks need 2 GPUs, and there are 1"):
        ranks.join()


def test_each_rank_has_its_gpu(monkeypatch):
    for name, value in (("LOCAL_WORLD_SIZE", 2), ("LOCAL_RANK", 1)):
        monkeypatch.setenv(name, str(value))
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert ranks.join()[2] == torch.device("cuda", 1) == chosen[0]


def test_a_rank_that_waits_in_vain_gives_up(ended):
    code, said, seconds = ended["waits"]
    assert code == 1 and "Error" in said and seconds < 60


def test_different_checkpoints_are_refused(monkeypatch):
    ranks.same_everywhere(3, 1)
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda out, _: out.__setitem__(1, 0)
    )
    with pytest.raises(ValueError, match=r"\[4, 0\]. All must read the same checkpoint"):
        ranks.same_everywhere(4, 2)


# Leaving
@pytest.mark.parametrize("carrier", BROKEN)
def test_a_broken_connection_ends_a_rank_with_a_word(ended, carrier):
    code, said, _ = ended[f"raise RuntimeError({carrier!r})"]
    assert code == ranks.LOST and len(said.splitlines()) == 1
    assert "rank 1 ends" in said and "start the same command again" in said


def test_another_error_is_not_hidden(ended):
    code, said, _ = ended["1 / 0"]
    assert code == 1 and "ZeroDivisionError" in said
    code, said, _ = ended["raise RuntimeError('size')"]
    assert code == 1 and "RuntimeError: size" in said


def test_the_launchers_request_ends_a_rank_with_a_word(ended):
    code, said, _ = ended["asked"]
    assert code == ranks.LOST and "the launcher ended this one" in said


def test_a_rank_ends_when_its_launcher_was_killed(ended):
    assert ended["launcher"][0] == -signal.SIGKILL and gone(ended["orphan"])


# Launching
def test_lines_and_code_of_one_rank():
    seen = []
    code, lines = ranks.launch("platform", ranks=1, look=seen.append)
    assert code == 0 and lines == seen and len(lines) == 1
    code, lines = ranks.launch("lora_course.nothing", ranks=1)
    assert code == 1 and "No module named" in lines[-1]


def test_each_rank_is_told_who_it_is(tmp_path, monkeypatch):
    (tmp_path / "who_am_i.py").write_text(WHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    code, lines = ranks.launch("who_am_i", ranks=2)
    assert code == 0 and sorted(lines) == ["0 of 2", "1 of 2"]


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="several GPUs are noticed")
def test_without_multi_gpu_accelerate_starts_one_process(tmp_path):
    """What the chapter warns of."""
    (tmp_path / "who.py").write_text("import os; print('rank', os.environ.get('RANK'))")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "who.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout.splitlines() == ["rank None"]


@pytest.mark.parametrize("count", [1, 2])
def test_after_some_seconds_all_are_ended(count):
    began, pids = time.monotonic(), []
    family = psutil.Process()
    seconds = 2 if count == 1 else 8  # the launcher of two needs some to start them
    code, _ = ranks.launch(*SLEEP, ranks=count, seconds=seconds, look=pids.append)
    assert code != 0 and time.monotonic() - began < 40
    left = [p for p in family.children(recursive=True) if "timeit" in " ".join(p.cmdline())]
    assert not left


def test_a_stop_by_hand_ends_them_too():
    def stop(line):
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ranks.launch("tests.sleeper", ranks=1, look=stop)
    assert time.monotonic() - began < 60
    assert not [p for p in psutil.Process().children() if "sleeper" in " ".join(p.cmdline())]
