import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_parp.environment import choices, compiler, install
from fairseq_parp.errors import MissingToolError


def test_a_missing_compiler_is_one_line_and_nothing_is_made(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(choices, "is_compiled_here", lambda *_: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    assert install.main([str(tmp_path / "venv")]) == 2
    output, error = capfd.readouterr()
    (line,) = error.splitlines()
    assert line.startswith("set-up: no C++ compiler")
    assert "apt install g++" in line
    assert output == ""
    assert not (tmp_path / "venv").exists()


def test_a_compiler_that_was_asked_for_is_not_replaced_by_another():
    with pytest.raises(MissingToolError, match=r"no C\+\+ compiler \(no-such-compiler\)"):
        compiler.find_compilers({**os.environ, "CXX": "no-such-compiler"})


def test_a_compiler_without_headers_gives_its_own_reason(tmp_path):
    lame = tmp_path / "c++"
    lame.write_text("#!/bin/sh\necho 'probe:1: fatal error: Python.h: No such file or directory' >&2; exit 1\n")
    lame.chmod(0o755)
    with pytest.raises(MissingToolError, match=r"fatal error: Python\.h: No such file"):
        compiler.find_compilers({**os.environ, "CXX": str(lame)})


def test_the_compiler_of_this_machine_is_found():
    assert set(compiler.find_compilers(os.environ)) == {"CC", "CXX"}


def test_a_folder_with_other_things_in_it_is_never_emptied(tmp_path, capfd):
    (tmp_path / "thesis.tex").touch()
    assert install.main([str(tmp_path)]) == 2
    assert "is not a virtual environment" in capfd.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


def test_a_half_made_environment_may_be_made_again(tmp_path):
    (tmp_path / "pyvenv.cfg").touch()
    install.check_folder(tmp_path)
    install.check_folder(tmp_path / "absent")


def scripted(monkeypatch, tmp_path, status):
    """An environment whose every stage ends at once with the status that ``status(name)`` gives."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    def stage(self, name, arguments, environ=None):
        code = f"print('all of', {arguments!r}); raise SystemExit({status(name)})"
        return original(self, name, ["-c", code], environ)

    original = install.Environment.stage
    monkeypatch.setattr(install.Environment, "stage", stage)
    monkeypatch.setattr(install.Environment, "create", lambda _self: None)
    monkeypatch.setattr(install, "check_folder", lambda _folder: None)


def test_no_cpu_torch_says_how_to_go_on(monkeypatch, tmp_path, capfd):
    scripted(monkeypatch, tmp_path, lambda _name: 1)
    monkeypatch.setattr(choices, "has_gpu", lambda: False)
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.delenv("TORCH", raising=False)
    assert install.main([str(tmp_path)]) == 2
    output, error = capfd.readouterr()
    assert "make setup TORCH=torch==2." in error.splitlines()[-1]
    assert output.count(": failed") == 2
    assert not (tmp_path / install.MARKER).exists()


@pytest.mark.parametrize("broken", ["fairseq", "requirements", "check"])
def test_a_failed_stage_shows_its_log_names_itself_and_leaves_no_marker(monkeypatch, tmp_path, capfd, broken):
    scripted(monkeypatch, tmp_path, lambda name: int(name.startswith(broken)))
    assert install.main([str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert "all of" in error
    assert error.splitlines()[-1].startswith(f"set-up: {broken}")
    assert ".log" in error.splitlines()[-1]
    assert not (tmp_path / install.MARKER).exists()


def test_the_marker_comes_last(monkeypatch, tmp_path, capfd):
    scripted(monkeypatch, tmp_path, lambda _name: 0)
    assert install.main([str(tmp_path)]) == 0
    assert (tmp_path / install.MARKER).exists()
    assert "ready after" in capfd.readouterr().out.splitlines()[-1]


def test_the_build_runs_side_by_side_without_ninja_or_cuda():
    environ = {"PATH": os.environ["PATH"], "CFLAGS": "-march=native", "CUDA_HOME": "/usr/local/cuda"}
    with install.build_environment(environ, {"CC": "gcc", "CXX": "g++"}) as build:
        assert "parallel = " in Path(build["DIST_EXTRA_CONFIG"]).read_text()
        assert build["CFLAGS"].split() == ["-march=native", *install.CHEAP_FLAGS.split()]
        assert build["CXXFLAGS"] == install.CHEAP_FLAGS
        assert "CUDA_HOME" not in build
        assert build["CXX"] == "g++"
        ninja = subprocess.run(["ninja", "--version"], env=build, check=False)
        assert ninja.returncode == 1
    assert not Path(build["DIST_EXTRA_CONFIG"]).exists()
