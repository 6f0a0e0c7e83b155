"""Decoders of image files, one for each family of formats; `xbench.datasets.decode` picks one.

- `picture` says what a decoded file is; `kinds` recognises files by their first bytes;
- `dicom`, `tiff`, `pictures` (PNG, JPEG and others), `arrays` (NPY) and `slices` (NIfTI,
  MetaImage, NRRD) decode.
"""
