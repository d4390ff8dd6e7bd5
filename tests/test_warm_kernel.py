"""tests/warm_kernel.py: a forked kernel is as good as a new one."""

import sys

import pytest
from nbval.kernel import start_new_kernel

from tests import warm_kernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks kernels"),
]
LOOK = """
import os, sys
print("torch" in sys.modules, any(name.startswith("lora_course") for name in sys.modules))
print(os.getcwd(), os.environ["LORA_COURSE_HOME"], PLACE in sys.path, __name__)
"""


def said_by(client, code):
    lines = []

    def keep(message):
        if message["msg_type"] == "stream":
            lines.extend(message["content"]["text"].splitlines())

    client.execute_interactive(code, timeout=60, output_hook=keep)
    return lines


def test_packages_are_there_and_nothing_else(tmp_path, monkeypatch):
    from jupyter_client.provisioning import local_provisioner

    monkeypatch.setattr(local_provisioner, "launch_kernel", warm_kernel.launch)
    monkeypatch.setenv("LORA_COURSE_HOME", "at home")
    look = LOOK.replace("PLACE", repr(str(warm_kernel.ROOT)))
    for _ in range(2):  # what one kernel did, the next one does not know
        manager, client = start_new_kernel(60, "python3", cwd=tmp_path)
        try:
            assert said_by(client, look) == [
                "True False",
                f"{tmp_path} at home False __main__",
            ]
            assert said_by(client, "import lora_course.train; known = 1; known") == []
            assert said_by(client, "print(known)") == ["1"]
            process = manager.provisioner.process
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        assert process.poll() is not None
