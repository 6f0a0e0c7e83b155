"""Data sets: domains × splits of images, each with a key that identifies its pixels.

- `base` is the interface (`Dataset`, `Images`); `registry` finds a data set by its name, in a
  folder or in a plug-in.
- Images in a folder: `folder` is the data set; `describe` reads and writes its `dataset.toml`,
  `suggest` guesses one. `layout` sorts the files into domains, splits and ids, `index` lists them
  in a table instead, `split` divides groups into train, val and test. `decode` reads files
  by the decoders in `decoding/`, `encode` writes such files. `prepare` turns images into squares
  in [0, 1]. `folder_labels` reads the masks, landmarks and angles in `labels/`. `patients` finds
  ids that may identify a patient, `pseudonyms` hashes ids.
- Looking at images: `quality` finds faulty ones with `similarity` and `duplicates`, `stats`
  measures domains.
- `export` writes any data set as a folder of PNG files.
- `phantom/` generates heads; `ct/` reads real ones from CT volumes; `importers/` downloads public
  data sets.

To add one: a child of `base.Dataset` in a module of its own, and a line in `registry.BUILT_IN`.

May import `core` only. Importing `registry` imports neither torch nor a data set.
"""
