"""Names of the rows that every utility is seen beside: two bounds and the rival of translation."""

#: Networks learned from images of the source as they are: utility 0.
SOURCE = "source"
#: Networks learned from true images of the target with their labels: utility 1.
TARGET = "target"
#: Networks learned from images of the source, randomised: what is to be had without translation.
AUGMENTED = "source-augmented"
