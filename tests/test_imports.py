"""The house's layering, as pyproject.toml states it."""

from importlinter.cli import lint_imports


def test_imports_point_down() -> None:
    assert lint_imports(no_cache=True) == 0
