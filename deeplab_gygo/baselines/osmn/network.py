r"""OSMN: a segmentation network that two modulators adapt to the object in one pass.

Yang et al., "Efficient Video Object Segmentation via Network Modulation", CVPR 2018; code
linjieyangsc/video_seg, model_func.py. The visual modulator sees a crop of the object in the
annotated frame and scales the channels of the trunk; the spatial modulator sees the approximate
position of the object and shifts them: the features y of a unit become
$\gamma_c\, y + \beta_c(h, w)$.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
from keras import layers

from deeplab_gygo.baselines.osmn.config import OsmnModel
from deeplab_gygo.baselines.osmn.modulation import Modulate, Unknown, spatial_modulator
from deeplab_gygo.baselines.shared.config import STRIDE
from deeplab_gygo.baselines.shared.sides import FuseSides, apply_sides
from deeplab_gygo.baselines.shared.trunk_weights import TrunkWeights
from deeplab_gygo.baselines.shared.trunks import (
    SPECS,
    Unit,
    build_trunk,
    freeze_statistics,
    modulated_units,
    trunk_stage,
    trunk_units,
)
from deeplab_gygo.baselines.shared.vgg import CROP, VggSpec, apply_classifier, identity_scales
from deeplab_gygo.models.config import GUIDE_PLANES
from deeplab_gygo.models.head import build_head
from deeplab_gygo.models.memory import readout_channels
from deeplab_gygo.models.refinement import build_refiner

CLASSIFIER_STRIDE = 32
"""Stride of the trunk in the visual modulator, where it is an unchanged classifier."""

ROLES = ("trunk", "visual", "spatial", "decoder", "refiner")
"""Roles of variables; `visual` is the whole modulator, its own trunk included."""


class Osmn:
    """The networks of OSMN.

    Attributes:
        config: Architecture.
        visual: {"crop" float32 [B, 224, 224, 3], RGB in 0..255, "crop_mask" float32
            [B, 224, 224, 1], 1 object, 0 hidden} -> scales float32 [B, S] of the modulated
            channels in the order of the units; initially 1.
        segmentation: {"image" float32 [B, H, W, 3], RGB in 0..255, H and W multiples of `stride`,
            "scales" float32 [B, S], or [1, S] for all images, "spatial" float32 [B, H, W, 1] in
            0..1} -> logits float32 [B, H/s, W/s, 1], s that of the finest side, or of the decoder
            of DeepLabV3+.
        network: {"image", "crop", "crop_mask", "spatial"} -> logits, of both together.
        parts: The models that hold the weights.
        stride: Number that divides height and width of the image.
        trunk_source: Origin of the trunks' initial weights, for the model card.

    Args:
        config: Architecture.
        trunk_weights: None for random ones, or a source as in `TrunkWeights`, for both trunks; with
            decoder `deeplab`, a parent initializes head and refinement too.

    Raises:
        WeightsError, InputError, DependencyError, UsageError: As `TrunkWeights` raises them.
    """

    stride = STRIDE

    def __init__(self, config: OsmnModel, trunk_weights: str | Path | None = None):
        self.config = config
        self.trunk_source = "random"
        self.units = modulated_units(config.trunk, config.modulate_early)
        self.scale_count = sum(unit.channels for unit in self.units)
        self.visual = _visual_modulator(config.trunk, self.scale_count)
        self.segmentation = _segmentation(config, self.units)
        self.parts = [self.visual, self.segmentation]
        for part in self.parts:
            freeze_statistics(part)
        self.network = self._joint_network()
        if trunk_weights is not None:
            vgg = isinstance(SPECS[config.trunk], VggSpec)
            weights = TrunkWeights(config.trunk, trunk_weights, classifier=vgg)
            for part in self.parts:
                weights.assign_trunk(part)
            if config.decoder == "deeplab":
                weights.assign_decoder(self._decoder_models())
            self.trunk_source = weights.description

    def _joint_network(self) -> keras.Model:
        inputs = {
            "image": keras.Input((None, None, 3), name="image"),
            "crop": keras.Input((CROP, CROP, 3), name="crop"),
            "crop_mask": keras.Input((CROP, CROP, 1), name="crop_mask"),
            "spatial": keras.Input((None, None, 1), name="spatial"),
        }
        scales = self.visual({name: inputs[name] for name in ("crop", "crop_mask")})
        logits = self.segmentation(
            {"image": inputs["image"], "scales": scales, "spatial": inputs["spatial"]}
        )
        return keras.Model(inputs, logits, name="osmn")

    def variables(self, frozen_stages: int = 0) -> dict[str, dict[str, keras.Variable]]:
        """Returns the trainable variables by role.

        Args:
            frozen_stages: Stem and stages of both trunks that are left out; 0: none.

        Returns:
            By role, one of `ROLES`: variables by `<layer>/<variable>`, unique within the role,
            without the BatchNorm of the trunks. `decoder` is the sides or the head of DeepLabV3+,
            `refiner` its class-agnostic refinement.
        """
        groups: dict[str, dict[str, keras.Variable]] = {role: {} for role in ROLES}
        models = [("visual", self.visual), ("", self.segmentation)]
        models += [
            ("refiner" if m.name == "refiner" else "decoder", m) for m in self._decoder_models()
        ]
        for model_role, model in models:
            for layer in model.layers:
                if isinstance(layer, keras.Model):
                    continue  # listed by itself
                stage = trunk_stage(layer.name)
                if frozen_stages and stage is not None and stage <= frozen_stages:
                    continue
                role = model_role or ("trunk" if stage is not None else "decoder")
                role = "spatial" if layer.name.startswith("spatial") else role
                for variable in layer.trainable_variables:
                    groups[role][f"{layer.name}/{variable.name}"] = variable
        return groups

    def _decoder_models(self) -> list[keras.Model]:
        """Returns head and refinement of DeepLabV3+, if the architecture has them."""
        return [layer for layer in self.segmentation.layers if isinstance(layer, keras.Model)]


def _visual_modulator(trunk: str, scale_count: int) -> keras.Model:
    """Builds the classifier on the crop, its last layer replaced by one of initial output 1."""
    crop = keras.Input((CROP, CROP, 3), name="crop")
    mask = keras.Input((CROP, CROP, 1), name="crop_mask")
    stages = build_trunk(trunk, crop, visible=mask, output_stride=CLASSIFIER_STRIDE)
    last = stages[f"stage{len(stages)}"]
    spec = SPECS[trunk]
    if isinstance(spec, VggSpec):
        scales = apply_classifier(last, spec, scale_count)
    else:
        pooled = layers.GlobalAveragePooling2D(name="pool")(last)
        scales = identity_scales(pooled, scale_count, "scales")
    return keras.Model({"crop": crop, "crop_mask": mask}, scales, name="visual")


def _segmentation(config: OsmnModel, units: tuple[Unit, ...]) -> keras.Model:
    image = keras.Input((None, None, 3), name="image")
    scales = keras.Input((sum(unit.channels for unit in units),), name="scales")
    spatial = keras.Input((None, None, 1), name="spatial")
    shifts = spatial_modulator(spatial, units, config.spatial_relu)
    modulations: dict[str, Modulate] = {}
    first_scale, first_shift = 0, Counter()
    for unit in units:
        modulations[unit.name] = Modulate(
            first_scale, first_shift[unit.stage], name=f"{unit.name}_modulate"
        )
        first_scale += unit.channels
        first_shift[unit.stage] += unit.channels

    def modulate(features: Any, unit: str, stage: int) -> Any:
        if unit not in modulations:
            return features
        return modulations[unit]([features, scales, shifts[stage]])

    stages = build_trunk(config.trunk, image, modulate)
    if config.decoder == "sides":
        sides = apply_sides(stages, config.trunk, config.side_channels)
        logits = FuseSides(name="fuse")(list(sides.values()))
    else:
        logits = _deeplab_decoder(config, stages)
    inputs = {"image": image, "scales": scales, "spatial": spatial}
    return keras.Model(inputs, logits, name="segmentation")


def _deeplab_decoder(config: OsmnModel, stages: dict[str, Any]) -> Any:
    """Applies head and refinement of DeepLabV3+ with unknown guide and memory read-out."""
    model = config.deeplab
    low, high = stages["stage2"], stages[f"stage{trunk_units(config.trunk)[-1].stage}"]
    inputs = {"low": low, "high": high}
    if model.guide:
        inputs["guide"] = Unknown(GUIDE_PLANES, name="unknown_guide")(low)
    if model.memory:
        channels = readout_channels(model.block_size)
        inputs["readout"] = Unknown(channels, name="unknown_readout")(high)
    logits = build_head(model, low.shape[-1], high.shape[-1])(inputs)
    if not model.refine:
        return logits
    fine = stages["stage1"]
    refiner = build_refiner(model, low.shape[-1], fine.shape[-1])
    return refiner({"logits": logits, "low": low, "fine": fine})
