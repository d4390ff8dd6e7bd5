"""Run a notebook in this interpreter, away from the network and from the learner's own files."""

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from lora_course.builder.source import SourceError

TIMEOUT = 900  # seconds a cell may take on a slow machine
WIDGET = "application/vnd.jupyter.widget-view+json"


def environment(root: Path, home: str) -> dict[str, str]:
    """Variables of a run: no network, no progress bars, no profile, no progress file touched.

    OMP_WAIT_POLICY, read when torch is loaded: a thread that waits sleeps. The default spins, which
    takes the cores away from a notebook or test that runs beside this one.
    """
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "LORA_COURSE_HOME": home,
        "IPYTHONDIR": home,
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def execute(nb, places: list[str], folder: Path, root: Path) -> str:
    """Run the code cells of a notebook in order and store their outputs in it.

    places: file and line of each cell, for messages. folder: working directory.
    Returns a word about the slowest cell. Raises SourceError at the first cell that fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    client = NotebookClient(nb, km=kernel_manager(), timeout=TIMEOUT, record_timing=False)
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        # The kernel's own log lines are dropped; what a cell writes to stderr comes back as output.
        options = {"env": environment(root, home), "cwd": str(folder), "stderr": subprocess.DEVNULL}
        options["cleanup_kc"] = True  # ends the kernel, though the manager is not the client's own
        with client.setup_kernel(**options):
            for index, (cell, place) in enumerate(zip(nb.cells, places, strict=True)):
                start = time.perf_counter()
                try:
                    client.execute_cell(cell, index)
                except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
                    raise SourceError(f"{place}: the cell failed\n{text}") from None
                if cell.cell_type == "code":
                    cell.outputs = clean(cell, place, str(root))
                    slowest = max(slowest, (time.perf_counter() - start, place))
    return f", {slowest[0]:.0f} s of it in {slowest[1]}"


def kernel_manager():
    """Return a manager whose kernel is sys.executable, whatever kernels are registered."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OwnKernel())


def clean(cell, place: str, root: str) -> list:
    """Join neighbouring text outputs and leave out widgets; refuse what must not be stored."""
    kept, here = [], [root, *(f"{p}{os.sep}" for p in (Path.home(), tempfile.gettempdir()))]
    for output in cell.outputs:
        text = str(output.get("text", "")) + str(output.get("data", ""))
        if output.get("name") == "stderr":
            raise SourceError(f"{place}: the cell wrote to stderr:\n{text}")
        if any(p in text for p in here) or re.search(r" at 0x[0-9a-fA-F]{4}", text):
            raise SourceError(f"{place}: the output names a place on this machine:\n{text}")
        if WIDGET in output.get("data", {}):
            if "nbval-ignore-output" not in cell.metadata.get("tags", ()):
                raise SourceError(
                    f"{place}: a cell that shows a widget needs the tag nbval-ignore-output"
                )
        elif kept and output.get("name") == "stdout" == kept[-1].get("name"):
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept
