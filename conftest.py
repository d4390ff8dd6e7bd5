"""Settings of every test run, at the root because nbval also collects chapters/ and solutions/.

Files run longest first, by the seconds in tests/seconds.json: a long one that begins last leaves
the other processes idle. An unknown file counts as long. `make test TEST_ARGS=--write-seconds`
measures anew.
"""

import json
import math
import os
import tempfile
from pathlib import Path

from lora_course.builder.execute import environment

# Before anything else is imported, and inherited by the kernels that nbval starts: the same
# variables as in a build (no network, no progress bars, a learner's progress file left alone).
HOME = tempfile.TemporaryDirectory(prefix="lora_course_", ignore_cleanup_errors=True)
os.environ.update(environment(Path(__file__).resolve().parent, HOME.name))

SECONDS = Path(__file__).resolve().parent / "tests" / "seconds.json"


def pytest_addoption(parser):
    parser.addoption(
        "--write-seconds", action="store_true", help=f"store each file's seconds in {SECONDS.name}"
    )


def seconds_of(name):
    """How long a test file or notebook takes on one core; infinity where nobody measured it."""
    return json.loads(SECONDS.read_text(encoding="utf-8")).get(name, math.inf)


def pytest_configure(config):
    if config.option.nbval:
        from tests import warm_kernel

        warm_kernel.use()


def pytest_collection_modifyitems(items):
    names = {item.nodeid.partition("::")[0] for item in items}
    took = {name: seconds_of(name) for name in names}
    items.sort(key=lambda item: -took[item.nodeid.partition("::")[0]])


def pytest_terminal_summary(terminalreporter, config):
    if config.option.write_seconds:
        took = {}
        for report in sum(terminalreporter.stats.values(), []):
            if hasattr(report, "duration"):
                name = report.nodeid.partition("::")[0]
                took[name] = took.get(name, 0) + report.duration
        known = json.loads(SECONDS.read_text(encoding="utf-8"))
        known |= {name: round(seconds, 1) for name, seconds in took.items()}
        root = SECONDS.parent.parent
        known = {name: known[name] for name in sorted(known) if (root / name).exists()}
        SECONDS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
