"""Policies: what the network is told, and when it learns."""

import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.policies import (
    FirstFrame,
    OneShot,
    OnlineAdaptation,
    ZeroShot,
    policy_for,
)


def test_a_configuration_names_its_policy():
    assert policy_for(OnlineConfig(mode="zero-shot")) == ZeroShot()
    assert policy_for(OnlineConfig(mode="one-shot", shot_guide="blend")) == OneShot(guide="blend")
    tuned = OnlineConfig(mode="fine-tune", guide="previous", recall=False)
    assert policy_for(tuned) == FirstFrame("previous", False)
    learns = OnlineConfig(mode="fine-tune", guide="none", online_steps=3, online_every=7, trust=0.6)
    assert policy_for(learns) == OnlineAdaptation("none", True, every=7, trust=0.6)


def test_steps_on_later_frames_are_for_fine_tuning_alone():
    for mode in ("zero-shot", "one-shot"):
        assert not policy_for(OnlineConfig(mode=mode, online_steps=3)).adapts


def test_only_zero_shot_never_sees_the_mask_and_only_fine_tuning_adapts():
    policies = [ZeroShot(), OneShot(), FirstFrame("none", True), OnlineAdaptation("none", True)]
    assert [p.sees_mask for p in policies] == [False, True, True, True]
    assert [p.adapts for p in policies] == [False, False, True, True]
    assert ZeroShot().guide == "none"
    assert OneShot().guide != "none" and OneShot().recall


@pytest.mark.parametrize("policy", [ZeroShot(), OneShot(), FirstFrame("none", True)])
def test_only_online_adaptation_learns_from_later_frames(policy):
    assert not any(policy.adapts_now(age, 1.0) for age in range(20))


def test_online_adaptation_learns_every_few_frames_from_what_it_trusts():
    policy = OnlineAdaptation("none", True, every=4, trust=0.7)
    assert [age for age in range(1, 13) if policy.adapts_now(age, 0.9)] == [4, 8, 12]
    assert policy.adapts_now(4, 0.7) and not policy.adapts_now(4, 0.69)
