"""Keep other packages that are called models, service or training from hiding Ganmint's own.

Many machine-learning projects have a folder `models/`. Beside one, `python -m ganmint` and `PYTHONPATH=. ganmint` would
import that instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

NAMES = ("models", "service", "training")
ROOT = Path(__file__).resolve().parent.parent


def put_first() -> None:
    """Move folders with packages of the same names behind Ganmint's on `sys.path`. For Ganmint's own programs.

    Raises: ImportError when such a package is imported already, or is found in another way than by `sys.path`.
    """
    foreign = [entry for entry in sys.path if _has_foreign_package(Path(entry))]
    if foreign:
        # Child processes get this order, too.
        sys.path[:] = [*(entry for entry in sys.path if entry not in foreign), str(ROOT), *foreign]
        importlib.invalidate_caches()
    check()


def check() -> None:
    """Check that the names mean Ganmint's own packages.

    Raises: ImportError naming the folder that hides one, and the remedy.
    """
    for name in NAMES:
        location = _locate(name)
        if location is None:
            raise ImportError(f"Ganmint's package {name!r} is missing from {ROOT}; install ganmint again", name=name)
        if location != ROOT / name:
            raise ImportError(
                f"another package called {name!r}, at {location}, hides Ganmint's own, at {ROOT / name}. Run the "
                f"ganmint command instead, or use ganmint from a program that neither imports {location} nor has "
                f"{location.parent} on sys.path (PYTHONPATH, or the folder that Python was started in)",
                name=name,
                path=str(location),
            )


def _has_foreign_package(entry: Path) -> bool:
    if entry.resolve() == ROOT:
        return False
    return any((entry / name / "__init__.py").is_file() or (entry / f"{name}.py").is_file() for name in NAMES)


def _locate(name: str) -> Path | None:
    """Return the folder or file that a top-level name is imported from."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module else importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or name).resolve()
