"""ranks.py: meeting, leaving, launching; with processes that end, hang or are killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from lora_course.fast import ranks

WHO = """
import os
from lora_course.fast.ranks import print_line
print_line(os.environ["RANK"] + " of 2")
"""
SLEEP = ("timeit", "-n1", "-r1", "-s", "import time", "time.sleep(100)")
CHILD = """
import sys, time
from lora_course.fast.ranks import leaving
with leaving(1, 2):
    print("ready", flush=True)
    {}
"""
PARENT = (
    "import subprocess, sys; c = subprocess.Popen(sys.argv[1:]); print(c.pid, flush=True); c.wait()"
)


def child(body):
    """A process that works with a second one, which is not there."""
    return [sys.executable, "-c", CHILD.format(body)]


def started(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    return process


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


def test_a_rank_that_waits_in_vain_gives_up():
    code = "from lora_course.fast.ranks import join; join(True, seconds=2)"
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **place}, capture_output=True, timeout=100
    )
    assert done.returncode != 0 and time.monotonic() - began < 60


def test_different_checkpoints_are_refused(monkeypatch):
    ranks.same_everywhere(3, 1)
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda out, _: out.__setitem__(1, 0)
    )
    with pytest.raises(ValueError, match=r"\[4, 0\]. All must read the same checkpoint"):
        ranks.same_everywhere(4, 2)


# Leaving
@pytest.mark.parametrize("carrier", ["[.../gloo/transport/tcp/pair.cc] closed", "NCCL error"])
def test_a_broken_connection_ends_a_rank_with_a_word(carrier):
    done = subprocess.run(child(f"raise RuntimeError({carrier!r})"), capture_output=True, text=True)
    assert done.returncode == ranks.LOST and len(done.stderr.splitlines()) == 1
    assert "rank 1 ends" in done.stderr and "start the same command again" in done.stderr


def test_another_error_is_not_hidden():
    done = subprocess.run(child("1 / 0"), capture_output=True, text=True)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    done = subprocess.run(child("raise RuntimeError('size')"), capture_output=True, text=True)
    assert done.returncode == 1 and "RuntimeError: size" in done.stderr


def test_the_launchers_request_ends_a_rank_with_a_word():
    process = started(child("time.sleep(100)"))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == ranks.LOST and "the launcher ended this one" in said


def test_a_rank_ends_when_its_launcher_was_killed():
    process = started([sys.executable, "-c", PARENT, *child("time.sleep(100)")])
    process.stdout.close()
    pid = psutil.Process(process.pid).children()[0].pid
    time.sleep(4)  # the child imports
    process.kill()
    process.wait()
    assert gone(pid)


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
