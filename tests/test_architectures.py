"""docs/architectures.md: made anew, compared with the file, and nothing in it is wrong."""

import pytest
import transformers

from lora_course.kit import models
from tests import architectures


@pytest.mark.slow
def test_the_page_is_current():
    """Every architecture and every operation, each against its reference; under 60 s."""
    models.quiet()
    transformers.utils.logging.set_verbosity_error()
    results = {kind: architectures.examine(kind) for kind in architectures.KINDS}
    wrong = {
        (kind, name): text
        for kind, found in results.items()
        for name, (verdict, text) in found.items()
        if verdict == "WRONG"
    }
    assert not wrong
    assert len(results) >= 14
    made = architectures.page(results)
    assert made == architectures.PAGE.read_text(encoding="utf-8"), (
        "docs/architectures.md is stale: python -m tests.architectures --write"
    )
