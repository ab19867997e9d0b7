"""docs/families.md says what the adapters say."""

from __future__ import annotations

from tests.models.family_table import PAGE, REAL, page


def test_the_page_of_families_is_what_the_adapters_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "make it again: uv run python -m tests.models.family_table"
    )


def test_what_ran_on_real_weights_is_a_family() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}`<br>" in text for name in REAL)
