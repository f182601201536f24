"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

python tests/lowest_versions.py > lowest.txt && pip install -c lowest.txt '.[test]'
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest_versions() -> dict[str, str]:
    """Name of each dependency, of the package and of its extras, -> the lowest version allowed.

    Raises:
        ValueError: if a dependency has no lower bound, or two different ones.
    """
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found: dict[str, str] = {}
    for requirement in (requirement for each in lists for requirement in each):
        if requirement.startswith(f"{project['name']}["):
            continue
        match = re.fullmatch(r"([\w.-]+)(?:\[.*\])?(?:>=|==)([\d.]+)(?:[,;].*)?", requirement)
        if match is None:
            raise ValueError(f"'{requirement}' has no lower bound. Write 'NAME>=VERSION'.")
        name, version = match.groups()
        if found.setdefault(name, version) != version:
            raise ValueError(f"'{name}' has two lower bounds, {found[name]} and {version}.")
    return found


if __name__ == "__main__":
    for name, version in sorted(lowest_versions().items()):
        print(f"{name}=={version}")
