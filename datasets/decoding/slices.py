"""Decodes volumes of one slice: NIfTI, MetaImage and NRRD."""

from pathlib import Path

from xbench.datasets.decoding.picture import Picture, Undecodable, from_array

#: Kind of file → SimpleITK's reader, so that the content decides, not the name.
READERS = {"NIfTI": "NiftiImageIO", "MetaImage": "MetaImageIO", "NRRD": "NrrdImageIO"}


def read_slice(path: Path, kind: str) -> Picture:
    """Decode a volume whose third axis has the length 1, in the order of the stored rows.

    Raises:
        Undecodable: it has several slices or channels, or SimpleITK is not installed.
    """
    try:
        import SimpleITK as sitk
    except ImportError:
        raise Undecodable(f'is {kind} and needs SimpleITK: pip install "xbench-xray[ct]"') from None
    reader = sitk.ImageFileReader()
    reader.SetImageIO(READERS[kind])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        raise Undecodable(f"has {reader.GetNumberOfComponents()} channels instead of one")
    sizes = reader.GetSize()
    slices = 1
    for size in sizes[2:]:
        slices *= size
    if slices != 1:
        raise Undecodable(f"has {slices} slices instead of one: save the slice that you need")
    array = sitk.GetArrayFromImage(reader.Execute())
    return from_array(array.reshape(array.shape[-2:]))
