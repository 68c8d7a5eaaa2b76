"""The benchmark: every method in every mode on every data set, as one page and three tables.

`plan` says what is to be measured, `cells` measures what is missing, `results` reads what was
measured; everything else makes tables, figures and the page of it and loads no network.
"""
