"""The doctor against stub libraries: -S keeps everything that is really installed out of sight."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_parp import native

ROOT = Path(__file__).resolve().parents[2]
TORCH = "from types import SimpleNamespace\nversion = SimpleNamespace(cuda=None)\n"
MODULES = {"hydra-core": "hydra", "fairseq-fixed": "fairseq"}


class Site:
    """A folder of stub libraries, at first one in which all is well."""

    def __init__(self, folder):
        self.folder = folder
        names = ("numpy", "soundfile", "editdistance", "jiwer", "rich", "safetensors", "scipy", "soxr", "tqdm")
        for name in (*names, "xxhash"):
            self.add(name, "1.26.0")
        self.add("torch", "2.13.0", TORCH)
        self.add("hydra-core", "1.3.2")
        self.add("omegaconf", "2.3.0")
        self.add("fairseq-fixed", "0.12.3.1")
        self.write("fairseq/checkpoint_utils.py", "")
        for module in ("__init__", "data_utils_fast", "token_block_utils_fast"):
            self.write(f"fairseq/data/{module}.py", "")

    def write(self, path, text):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add(self, name, version, code=""):
        module = MODULES.get(name, name)
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        self.remove(name)
        self.write(f"{module}/__init__.py", code)
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(f"{info}/top_level.txt", f"{module}\n")

    def remove(self, name):
        for info in self.folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
            for file in info.iterdir():
                file.unlink()
            info.rmdir()
        (self.folder / MODULES.get(name, name) / "__init__.py").unlink(missing_ok=True)

    def doctor(self, *options):
        command = [sys.executable, "-S", "-m", "fairseq_parp", "doctor", *options]
        environ = {**os.environ, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}
        return subprocess.run(command, env=environ, cwd=self.folder, capture_output=True, text=True, check=False)

    def report(self, parts_in_cpp=False):
        """What the doctor finds; whether this project's own parts are compiled here is no matter of the stubs."""
        result = self.doctor("--json")
        report = json.loads(result.stdout)
        assert result.returncode == int(report["broken"]), result.stderr
        own = [problem for problem in report["problems"] if problem["what"].startswith("fairseq_parp.")]
        report["problems"] = own if parts_in_cpp else [each for each in report["problems"] if each not in own]
        return report


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def problem(report):
    """The only problem there is."""
    (one,) = report["problems"]
    return one


@pytest.mark.skipif(None in map(native.load, native.PARTS), reason="not compiled here")
def test_all_is_well(site):
    result = site.doctor()
    assert result.returncode == 0
    assert "fairseq         0.12.3.1, from fairseq-fixed" in result.stdout
    assert "torch           2.13.0, CPU build" in result.stdout
    assert result.stdout.endswith("All that is needed works.\n")


def test_with_nothing_at_all_every_library_is_asked_for(tmp_path):
    result = Site.doctor(type("Empty", (), {"folder": tmp_path})())
    assert result.returncode == 1
    assert result.stderr == ""
    for name in ("torch", "fairseq", "numpy", "soundfile", "soxr"):
        assert f"BROKEN: {name} is not installed" in result.stdout
    assert "make setup" in result.stdout


@pytest.mark.parametrize("name", ["torch", "fairseq-fixed", "numpy", "editdistance", "jiwer", "rich"])
def test_one_missing_library(site, name):
    site.remove(name)
    assert f"{MODULES.get(name, name)} is not installed" in [p["what"] for p in site.report()["problems"]]


def test_a_torch_that_loads_unsafely_is_to_be_upgraded(site):
    site.add("torch", "2.5.1+cpu", TORCH)
    assert "upgrade to torch 2.6" in problem(site.report())["mend"]


def test_a_torch_that_does_not_import_is_the_only_cause_shown(site):
    site.add("torch", "2.13.0", "raise OSError('libtorch.so: cannot open')")
    site.write("fairseq/__init__.py", "import torch")
    assert "libtorch.so: cannot open" in problem(site.report())["what"]


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (
            "raise ValueError(\"mutable default <class 'CommonConfig'> for field common is not allowed\")",
            "Python <= 3.10",
        ),
        ("import numpy\nnumpy.float", "numpy<1.24"),
        ("import bitarray", "pip install the module"),
    ],
)
def test_a_fairseq_that_does_not_import_has_a_known_cause(site, code, mend):
    site.write("fairseq/__init__.py", code)
    assert mend in problem(site.report())["mend"]


def test_hydra_of_another_age_breaks_only_where_fairseq_does(site):
    site.add("hydra-core", "1.0.7")
    note = problem(site.report())
    assert note["harmless"]
    assert note["mend"] == "pip install 'hydra-core>=1.1,<1.4'"
    site.write("fairseq/__init__.py", "raise TypeError('hydra')")
    assert [p["harmless"] for p in site.report()["problems"]] == [False, False]


def test_two_distributions_of_fairseq_at_once(site):
    site.add("fairseq", "0.12.2")
    report = site.report()
    assert "fairseq 0.12.2 and fairseq-fixed 0.12.3.1 are both installed" in report["problems"][0]["what"]


def test_extensions_that_were_not_compiled(site):
    (site.folder / "fairseq" / "data" / "data_utils_fast.py").unlink()
    missing = problem(site.report())
    assert "fairseq.data.data_utils_fast" in missing["what"]
    assert "build_ext --inplace" in missing["mend"]


def test_a_hollow_fairseq_is_described_and_not_tripped_over(site):
    (site.folder / "fairseq" / "checkpoint_utils.py").unlink()
    assert "fairseq.checkpoint_utils does not import" in problem(site.report())["what"]


def test_torchaudio_that_does_not_import_is_harmless(site):
    site.add("torchaudio", "2.13.0", "raise OSError('libcudart.so')")
    assert problem(site.report())["harmless"]


def test_without_the_parts_in_cpp_all_works(site):
    shutil.copytree(ROOT / "fairseq_parp", site.folder / "fairseq_parp", ignore=shutil.ignore_patterns("*.so", "*.pt"))
    missing = site.report(parts_in_cpp=True)["problems"]
    assert [problem["what"].split()[0] for problem in missing] == [f"fairseq_parp.{part}" for part in native.PARTS]
    assert all(problem["harmless"] and "build_ext --inplace" in problem["mend"] for problem in missing)


def test_without_flashlight_all_works(site):
    site.write("flashlight/lib/text/__init__.py", "raise ImportError('libstdc++.so.6')")
    site.write(
        "flashlight_text-0.0.7.dist-info/METADATA", "Metadata-Version: 2.1\nName: flashlight-text\nVersion: 0.0.7\n"
    )
    assert problem(site.report())["harmless"]
    flashlight = next(one for one in site.report()["libraries"] if one["name"] == "flashlight-text")
    assert flashlight["version"] == "0.0.7"


def test_a_checkout_is_told_from_an_installed_fairseq(site):
    for info in site.folder.glob("fairseq_fixed-*.dist-info/top_level.txt"):
        info.write_text("something_else\n")
    site.write("fairseq/version.txt", "1.0.0a0\n")
    fairseq = {library["name"]: library for library in site.report()["libraries"]}["fairseq"]
    assert fairseq["version"] == "1.0.0a0"
    assert fairseq["detail"] == f"a checkout, {site.folder}"


def test_libraries_that_print_do_not_spoil_the_json(site):
    site.write("fairseq/__init__.py", "print('hello from fairseq')")
    assert not site.report()["broken"]
