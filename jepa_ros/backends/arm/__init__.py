"""A small world model of one arm, trained from its own recordings: what a motion will look like, and whether a grip will hold through it.

`network`: encoder, predictors, heads. `file`: how it is kept. `model`: the back-end. `plan`: the quickest motion to a goal that holds.
"""
