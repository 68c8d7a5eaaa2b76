"""Kernels for GPUs, in Pallas through Triton under JAX, each with a twin in plain operations.

Nothing here is imported unless it is used: the modules import JAX, which is an extra. Every kernel
takes `interpret=True`, which runs it by the interpreter of Pallas on any machine, slowly.
"""
