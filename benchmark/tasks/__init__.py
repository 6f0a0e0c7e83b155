"""Downstream tasks: what people do with X-rays, learned from images with labels.

`network` is one network for all tasks, `training` its only recipe, `randomise` random appearances
for one reference row, `measures` says how far predictions are from labels. The harness trains it on
translated images, and tests it on true ones.
"""
