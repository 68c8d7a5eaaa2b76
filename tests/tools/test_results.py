"""The files of results and the table of experiments that names them."""

import re
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
README = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_result_and_no_other():
    folder = EXPERIMENTS / "results"
    patterns = set(re.findall(r"`(?:results/)?([\w.*\[\]-]+\.(?:json|csv|md))`", README))
    found = {pattern: {path.name for path in folder.glob(pattern)} for pattern in patterns}
    assert [pattern for pattern, names in found.items() if not names] == []
    assert set().union(*found.values()) == {path.name for path in folder.iterdir()}


def test_the_readme_names_existing_tools_and_experiments():
    for name in re.findall(r"tools/(\w+)\.py", README):
        assert (EXPERIMENTS.parent / "tools" / f"{name}.py").is_file(), name
    for words in re.findall(r"\| `TRAIN ([^|]+)\|", README):
        for name in re.findall(r"\b[a-z]\w{2,}", words):
            assert (EXPERIMENTS / f"{name}.yaml").is_file(), name


def test_the_readme_has_no_path_of_a_machine():
    assert not re.search(r"(?<![\w./])/(?:home|root|tmp|work|mnt|data)/", README)
