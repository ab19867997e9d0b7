"""The same with every image as its quarters and itself."""

from tests.models.families import idefics2
from tests.models.families.common import Case


def tiny() -> Case:
    return idefics2.tiny(split=True)
