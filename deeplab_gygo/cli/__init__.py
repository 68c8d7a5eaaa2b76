"""The commands of `deeplab-gygo`, one module each, and the options that they share.

A module has `add_arguments(parser, request)` and `run(options) -> exit status`. Only the command
line and these modules print. They import Keras inside `run`, after the cheap checks, so that a
wrong option or a damaged file is reported at once.
"""
