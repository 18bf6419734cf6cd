"""Services never import each other, and shared imports no service."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/__init__.py"))


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield path, node.module or ""


def test_all_four_services_are_looked_at() -> None:
    assert SERVICES == ["api", "enrich", "ingest", "metrics"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_only_itself_and_shared(service: str) -> None:
    found = list(imports(ROOT / "services" / service))
    assert found
    allowed = (f"services.{service}", "shared")
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, module in found
        if module.split(".")[0] in {"services", "shared", "deploy", "klankbord", "bench", "tests"}
        and not any(module == name or module.startswith(name + ".") for name in allowed)
    ]
    assert wrong == []


def test_shared_imports_no_service() -> None:
    ours = {"services", "deploy", "klankbord", "bench", "tests"}
    wrong = [f"{path}: {module}" for path, module in imports(ROOT / "shared") if module.split(".")[0] in ours]
    assert wrong == []
