"""GPU instance families."""

from __future__ import annotations

import re

from launcher.plan.instances import FAMILIES
from text_classifier.contract.sagemaker import GPU_FAMILIES


def test_messages_name_the_supported_families() -> None:
    supported = {name for name, family in FAMILIES.items() if family.is_supported}
    assert set(re.findall(r"ml\.(\w+)", GPU_FAMILIES)) == supported
