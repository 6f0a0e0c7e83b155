"""What every room needs and none owns: errors, hashing, files, processes, settings, registries.

Imports nothing else of xbench. Importing a module from here never imports torch, but for
`isolation` (which guards torch's state).
"""
