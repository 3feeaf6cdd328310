"""The modules, files and C++ parts of the package; ``pyproject.toml`` has its metadata and requirements."""

import runpy
import zlib
from pathlib import Path

from setuptools import Extension, find_packages, setup

# In the repository these lie at the top: fairseq's --config-dir wants a plain folder, and facts are read by people.
DATA = {"fairseq_parp.configs": "configs", "fairseq_parp.splits": "manifests/splits"}


def in_cpp(part: str) -> Extension:
    """Describe a part in C++ (see fairseq_parp/native.py): functions for ctypes, left out where none compiles."""
    source = f"fairseq_parp/{part.replace('.', '/')}.cpp"
    checksum = zlib.crc32(Path(source).read_bytes())
    return Extension(
        f"fairseq_parp.{part}",
        [source],
        define_macros=[("PARP_SOURCE", f"{checksum}u")],
        extra_compile_args=["-O3", "-std=c++17", "-ffp-contract=off"],
        language="c++",
        optional=True,
    )


setup(
    license="MIT",
    packages=[*find_packages(include=["fairseq_parp", "fairseq_parp.*"]), *DATA],
    package_dir=DATA,
    ext_modules=[in_cpp(part) for part in runpy.run_path("fairseq_parp/native.py")["PARTS"]],
    package_data={
        "fairseq_parp": ["py.typed", "demo/*.pt"],
        "fairseq_parp.configs": ["*.yaml", "*.tsv", "experiments/*.yaml"],
        "fairseq_parp.splits": ["*.json", "*.ids", "*.txt"],
    },
)
