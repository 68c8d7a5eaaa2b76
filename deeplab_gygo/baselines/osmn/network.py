r"""OSMN: a segmentation network that two modulators tell which object is meant, in one pass.

Yang et al., "Efficient Video Object Segmentation via Network Modulation", CVPR 2018; code
linjieyangsc/video_seg, model_func.py. The visual modulator sees the object cut out of the annotated
frame and scales the channels of the trunk; the spatial modulator sees roughly where the object was
and shifts them: a unit's features y become $\gamma_c\, y + \beta_c(h, w)$.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
from keras import layers

from deeplab_gygo.baselines.osmn.config import OsmnModel
from deeplab_gygo.baselines.osmn.modulation import Modulate, Unknown, spatial_modulator
from deeplab_gygo.baselines.shared.sides import FuseSides, apply_sides, finest_stride
from deeplab_gygo.baselines.shared.trunk_weights import TrunkWeights
from deeplab_gygo.baselines.shared.trunks import (
    SPECS,
    STRIDE,
    Unit,
    build_trunk,
    freeze_statistics,
    modulated_units,
    trunk_stage,
    trunk_units,
)
from deeplab_gygo.baselines.shared.vgg import CROP, VggSpec, apply_classifier, identity_scales
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.head import build_head
from deeplab_gygo.models.memory import recall_channels
from deeplab_gygo.models.refinement import REFINED_STRIDE, build_refiner

CLASSIFIER_STRIDE = 32
"""Stride of the trunk in the visual modulator, which is the classifier that it was."""

ROLES = ("trunk", "visual", "spatial", "decoder", "refiner")
"""What a variable belongs to; `visual` is the whole modulator, its own trunk included."""


class Osmn:
    """The networks of OSMN.

    Attributes:
        config: Architecture.
        visual: {"crop" float32 [B, 224, 224, 3], RGB in 0..255, "crop_mask" float32
            [B, 224, 224, 1], 1 object, 0 hidden} -> scales float32 [B, S] of the modulated
            channels in the order of the units; all 1 with the first weights.
        segmentation: {"image" float32 [B, H, W, 3], RGB in 0..255, H and W multiples of `stride`,
            "scales" float32 [B, S], or [1, S] for all images, "spatial" float32 [B, H, W, 1] in
            0..1} -> logits float32 [B, H/s, W/s, 1] at `logits_stride`.
        network: {"image", "crop", "crop_mask", "spatial"} -> logits, both joined.
        trunk_source: Where the trunks' first weights are from, in words.

    Args:
        config: Architecture.
        trunk_weights: None for random ones, or a source as `TrunkWeights` has it, for both trunks;
            with decoder `deeplab`, a parent gives head and refinement too.

    Raises:
        UsageError: The parts of the architecture do not fit together.
        WeightsError, InputError, DependencyError: As `TrunkWeights` raises them.
    """

    def __init__(self, config: OsmnModel, trunk_weights: str | Path | None = None):
        _check(config)
        self.config = config
        self.trunk_source = "random"
        self.units = modulated_units(config.trunk, config.modulate_early)
        self.scale_count = sum(unit.channels for unit in self.units)
        self.visual = _visual_modulator(config.trunk, self.scale_count)
        self.segmentation = _segmentation(config, self.units)
        for part in self.parts:
            freeze_statistics(part)
        self.network = self._joined()
        if trunk_weights is not None:
            vgg = isinstance(SPECS[config.trunk], VggSpec)
            weights = TrunkWeights(config.trunk, trunk_weights, classifier=vgg)
            for part in self.parts:
                weights.put(part)
            if config.decoder == "deeplab":
                weights.put_decoder(self._decoder_models())
            self.trunk_source = weights.description

    def _joined(self) -> keras.Model:
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

    @property
    def parts(self) -> list[keras.Model]:
        """Returns the models that hold the weights."""
        return [self.visual, self.segmentation]

    @property
    def stride(self) -> int:
        """Multiple that height and width of the image must have."""
        return STRIDE

    @property
    def logits_stride(self) -> int:
        """Stride of the logits."""
        if self.config.decoder == "sides":
            return finest_stride(self.config.trunk)
        return REFINED_STRIDE if self.config.deeplab.refine else DECODER_STRIDE

    def variables(self, frozen_stages: int = 0) -> dict[str, dict[str, keras.Variable]]:
        """Returns the variables to train by their role, one of `ROLES`.

        Args:
            frozen_stages: Stem and stages of both trunks that are left out; 0 leaves none out.

        Returns:
            By role: variables by `<layer>/<variable>`, unique within the role. The trunks'
            normalisation is in none; `decoder` is the sides or the head of DeepLabV3+, `refiner`
            its refinement, which knows no object from another.
        """
        groups: dict[str, dict[str, keras.Variable]] = {role: {} for role in ROLES}
        holders = [("visual", self.visual), ("", self.segmentation)]
        holders += [
            ("refiner" if m.name == "refiner" else "decoder", m) for m in self._decoder_models()
        ]
        for fixed, model in holders:
            for layer in model.layers:
                if isinstance(layer, keras.Model):
                    continue  # a holder of its own
                stage = trunk_stage(layer.name)
                if frozen_stages and stage is not None and stage <= frozen_stages:
                    continue
                role = fixed or ("trunk" if stage is not None else "decoder")
                role = "spatial" if layer.name.startswith("spatial") else role
                for variable in layer.trainable_variables:
                    groups[role][f"{layer.name}/{variable.name}"] = variable
        return groups

    def _decoder_models(self) -> list[keras.Model]:
        """Head and refinement of DeepLabV3+, as far as the architecture has them."""
        return [layer for layer in self.segmentation.layers if isinstance(layer, keras.Model)]


def _check(config: OsmnModel) -> None:
    """Raises `UsageError` where parts of an architecture do not fit together."""
    if config.decoder != "deeplab":
        return
    wanted = (config.trunk, STRIDE)
    met = (config.deeplab.backbone, config.deeplab.output_stride)
    if met != wanted:
        raise UsageError(
            f"Decoder deeplab has backbone and output stride of the trunk, {wanted}",
            met=met,
            where="model.deeplab",
            remedy="Use decoder sides, or the same network in both places",
        )


def _visual_modulator(trunk: str, scale_count: int) -> keras.Model:
    """The classifier on the cut-out object, its last layer replaced by one that says 1 at first."""
    crop = keras.Input((CROP, CROP, 3), name="crop")
    mask = keras.Input((CROP, CROP, 1), name="crop_mask")
    ends = build_trunk(trunk, crop, visible=mask, output_stride=CLASSIFIER_STRIDE)
    last = ends[f"stage{len(ends)}"]
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
    layers_of: dict[str, Modulate] = {}
    first_scale, first_shift = 0, Counter()
    for unit in units:
        layers_of[unit.name] = Modulate(
            first_scale, first_shift[unit.stage], name=f"{unit.name}_modulate"
        )
        first_scale += unit.channels
        first_shift[unit.stage] += unit.channels

    def modulate(features: Any, unit: str, stage: int) -> Any:
        if unit not in layers_of:
            return features
        return layers_of[unit]([features, scales, shifts[stage]])

    ends = build_trunk(config.trunk, image, modulate)
    if config.decoder == "sides":
        sides = apply_sides(ends, config.trunk, config.side_channels)
        logits = FuseSides(name="fuse")(list(sides.values()))
    else:
        logits = _deeplab_decoder(config, ends)
    inputs = {"image": image, "scales": scales, "spatial": spatial}
    return keras.Model(inputs, logits, name="segmentation")


def _deeplab_decoder(config: OsmnModel, ends: dict[str, Any]) -> Any:
    """Head and refinement of DeepLabV3+; its own guide and recall are unknown."""
    model = config.deeplab
    low, high = ends["stage2"], ends[f"stage{trunk_units(config.trunk)[-1].stage}"]
    inputs = {"low": low, "high": high}
    if model.guide:
        inputs["guide"] = Unknown(1, name="unknown_guide")(low)
    if model.memory:
        channels = recall_channels(model.output_stride // DECODER_STRIDE)
        inputs["recall"] = Unknown(channels, name="unknown_recall")(high)
    logits = build_head(model, low.shape[-1], high.shape[-1])(inputs)
    if not model.refine:
        return logits
    fine = ends["stage1"]
    refiner = build_refiner(model, low.shape[-1], fine.shape[-1])
    return refiner({"logits": logits, "low": low, "fine": fine})
