import re
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from fairseq_parp import __version__
from fairseq_parp.environment.choices import fairseq_distribution, pinned
from fairseq_parp.environment.doctor import SAFE_TORCH, WRITTEN_FOR
from fairseq_parp.environment.libraries import numbers

ROOT = Path(__file__).resolve().parents[2]
PINS = (ROOT / "constraints.txt").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Metadata and package as setuptools makes them; nothing is written to the repository."""
    folder = tmp_path_factory.mktemp("built")
    steps = ["egg_info", "--egg-base", str(folder), "build_py", "--build-lib", str(folder / "lib")]
    subprocess.run([sys.executable, "setup.py", "-q", *steps], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def distribution(built):
    return PathDistribution(built / "fairseq_parp.egg-info")


def wanted(distribution, **environment):
    requirements = [Requirement(line) for line in distribution.requires]
    return {r.name: r for r in requirements if not r.marker or r.marker.evaluate({"extra": "", **environment})}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_a_plain_install_cannot_touch_torch_or_fairseq_or_any_version(distribution, python):
    plain = wanted(distribution, python_version=python)
    assert not [name for name in plain if "fairseq" in name or "torch" in name or "hydra" in name]
    assert not [str(requirement) for requirement in plain.values() if str(requirement.specifier)]


@pytest.mark.parametrize("python", [(3, 10), (3, 11), (3, 13)])
def test_the_extra_names_the_distribution_that_the_set_up_chooses(distribution, python):
    extra = wanted(distribution, extra="fairseq", python_version=".".join(map(str, python)))
    assert [name for name in extra if name.startswith("fairseq")] == [fairseq_distribution(python)]


def test_the_command_and_the_version(distribution):
    assert [(e.name, e.value) for e in distribution.entry_points] == [("fairseq-parp", "fairseq_parp.cli:main")]
    assert distribution.version == __version__


def test_the_citation_and_the_changes_name_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1] == __version__


def test_the_package_index_shows_the_readme(distribution):
    assert distribution.metadata["Description-Content-Type"] == "text/markdown"
    assert "## Two commands" in distribution.metadata.get_payload()


def test_the_workflow_has_the_fairseq_of_each_python_and_runs_what_is_run_here():
    text = (ROOT / ".github/workflows/ci.yaml").read_text()
    (job,) = yaml.safe_load(text)["jobs"].values()
    matrix = job["strategy"]["matrix"]["include"]
    pythons = {tuple(map(int, each["python"].split("."))) for each in matrix}
    assert {fairseq_distribution(python) for python in pythons} == {"fairseq", "fairseq-fixed"}
    assert set(distribution_pythons()) == {".".join(map(str, python)) for python in pythons}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "not run here" in text
    torches = {each["torch"].removeprefix("torch==") for each in matrix}
    assert {min(map(numbers, torches))[:2], max(map(numbers, torches))} == {SAFE_TORCH, numbers(pinned("torch", PINS))}


@pytest.mark.parametrize("name", WRITTEN_FOR)
def test_the_pinned_versions_are_those_that_the_doctor_asks_for(name):
    pins = [line for line in PINS.splitlines() if (">=" in line) == (name == "fairseq-fixed")]
    for other, (low, high) in WRITTEN_FOR[name].items():
        assert numbers(low) <= numbers(pinned(other, "\n".join(pins))) < numbers(high)


def distribution_pythons():
    """Python versions that pyproject.toml names."""
    return re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())


def test_a_source_distribution_holds_what_is_compiled(built):
    listed = (built / "fairseq_parp.egg-info" / "SOURCES.txt").read_text().split()
    assert {str(file.relative_to(ROOT)) for file in (ROOT / "fairseq_parp").rglob("*.cpp")} < set(listed)


def test_the_package_holds_every_module_and_what_the_demo_reads(built):
    for pattern in ("**/*.py", "demo/*.pt", "py.typed"):
        for file in (ROOT / "fairseq_parp").glob(pattern):
            assert (built / "lib" / file.relative_to(ROOT)).is_file(), file
    for file in (ROOT / "configs").glob("*.yaml"):
        assert (built / "lib" / "fairseq_parp" / "configs" / file.name).is_file(), file
    for file in (ROOT / "manifests" / "splits").iterdir():
        assert (built / "lib" / "fairseq_parp" / "splits" / file.name).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("installed", [False, True])
def test_configs_and_splits_are_found_in_a_checkout_and_after_an_installation(built, installed):
    place = built / "lib" if installed else ROOT
    code = "from fairseq_parp.environment import paths; print(paths.configs(), paths.splits())"
    found = subprocess.run([sys.executable, "-S", "-c", code], cwd=place, capture_output=True, text=True, check=True)
    folders = [place / "fairseq_parp" / name for name in ("configs", "splits")]
    assert found.stdout.split() == list(
        map(str, folders if installed else [ROOT / "configs", ROOT / "manifests/splits"])
    )
