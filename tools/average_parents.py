"""Averages the weights of several parents of one training (a "model soup").

    python tools/average_parents.py --out parent.npz runs/A/parent.npz runs/B/last.npz

A file that is named several times weighs as much. The mean of checkpoints of one training is often
better than each of them (Wortsman et al., "Model soups", ICML 2022). With `--config` the averaged
parent is evaluated on the validation sets of the experiment file, and configuration and scores are
written into its card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import load_yaml, to_plain
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.weight_file import assign, file_hash, read_parent_file, save_parent
from deeplab_gygo.training.config import TrainConfig


def averaged(paths: list[Path]) -> tuple[DeepLabV3Plus, list[dict]]:
    """Returns a parent with the mean weights of some files, and their cards."""
    parts = [read_parent_file(path) for path in paths]
    configs = [config for config, _, _ in parts]
    if any(config != configs[0] for config in configs):
        raise UsageError("Parents that are averaged have one architecture", met=configs)
    parent = DeepLabV3Plus(configs[0])
    arrays = [values for _, values, _ in parts]
    mean = {k: np.mean([a[k].astype(np.float32) for a in arrays], axis=0) for k in arrays[0]}
    assign(parent, mean, paths[0])
    return parent, [card for _, _, card in parts]


def main() -> None:
    """Averages, evaluates and writes the parent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parents", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--config", type=Path, help="experiment file of the training, with validation sets"
    )
    parser.add_argument("--data-root", default="")
    options = parser.parse_args()
    parent, cards = averaged(options.parents)
    card = {
        "averaged": [
            {"sha256": file_hash(path), "step": card.get("step"), "seconds": card.get("seconds")}
            for path, card in zip(options.parents, cards, strict=True)
        ],
    }
    if options.config:
        from deeplab_gygo.training.validation import ParentValidation

        config = load_yaml(TrainConfig, options.config)
        card["training"] = to_plain(config)
        card["validation"] = ParentValidation(parent, config.validation, options.data_root).run()
        print(json.dumps(card["validation"], indent=1))
    save_parent(options.out, parent, card)
    print(options.out, file_hash(options.out))


if __name__ == "__main__":
    main()
