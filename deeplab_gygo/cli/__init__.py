"""The commands of `deeplab-gygo`, one module each, and the options that they share.

A module has `add_arguments(parser, request)` and `run(options) -> exit status`. Only the command line and
these modules print. They import Keras inside `run`, after everything cheap is checked, so that a
wrong option or a bad file is answered at once.
"""
