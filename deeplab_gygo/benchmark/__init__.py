"""The benchmark: every method in every mode on every dataset, as one page and its tables.

`plan` reads the configuration, `run` runs the missing cells, `results` reads them, and `report`
writes tables, figures and the page without a network.
"""
