"""The versions that the tests run on (requirements.txt), against those that are installed."""

from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


def wanted():
    """Return {package: version rule} for this system, from requirements.txt.

    Without that file (the package was installed without its folder) the package's own ranges count.
    """
    from packaging.requirements import Requirement

    if REQUIREMENTS.is_file():
        lines = REQUIREMENTS.read_text("utf-8").splitlines()
    else:
        lines = metadata.requires("lora-course") or []
    rules = [Requirement(line) for line in lines if line.strip() and line.strip()[0] != "#"]
    return {
        rule.name: rule.specifier
        for rule in rules
        if rule.marker is None or rule.marker.evaluate({"extra": ""})
    }


def installed(name):
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def differences():
    """Return a text for each package that is missing or has another version than the tested one.

    A local suffix does not count: torch 2.13.0+cpu is torch 2.13.0.
    """
    texts = []
    for name, rule in sorted(wanted().items()):
        have = installed(name)
        if have is None or not rule.contains(have, prereleases=True):
            texts.append(f"{name} {have or 'missing'} (tested: {rule})")
    return texts
