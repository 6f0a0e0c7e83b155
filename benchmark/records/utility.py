"""Names of the rows that bound every utility."""

#: Networks learned from images of the source as they are: utility 0.
SOURCE = "source"
#: Networks learned from true images of the target with their labels: utility 1.
TARGET = "target"
