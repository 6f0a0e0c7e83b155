"""Finds ids that look like names or numbers of patients.

File names become ids, which stand in records, tables and names of pictures. A guess: other names
can identify a patient, too, and nothing is read from the pixels.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from xbench.core.text import visible

#: Words that describe images, and name no person.
_ORDINARY = """
abdomen acq acquisition adult after air ankle ant anterior aorta ap arm arteries artery augmented
axial back base baseline before bone bones brain bright caldwell cardiac case cases center centre
chest child clean control copy coronal covid covid-19 cr cranium crop cropped ct cxr dark data
dataset day dcm dental detector dicom digital domain drr dsa dx edge elbow empty exam example
exposure face fake female file final finding foot fracture frame frames front frontal full gen
generated gray grey group hand head heads healthy heart high hip hospital human id im image images
img imgs implant index input inverted jpeg jpg knee kopf kv label lao lat lateral left leg level
lossless low lower lung lungs male mandible mask masks max mean medium metal mid middle min mix
mixed model mono monochrome motion mouse mr mri neck negative new noise noisy normal npy number
object obl oblique old orig original output overexposed pa page paired pano part pat patch patient
patients pelvis person phantom photo pic pics picture pictures pid plane pneumonia png pos positive
post posterior pre proc processed projection quality quick random rao raw real rec recon reference
region registered repeat resized result right roi rot rotated row run sagittal sample samples
scaled scan scans scene schaedel schädel second section seed seg segment segmentation sensor
sequence series set shoulder side sim simulated single size skull skulls slice small soft source
spine split standard step stud study subj subject subjects syn synth synthetic target teeth test
tests thigh third thorax thumb tibia tif tiff time tissue tooth top towne train training translated
transverse true tuberculosis tumor tumour type uid underexposed unknown upper val validation value
version vessel vessels view views visit vol volume waters white window wrist xray xrays
"""
ORDINARY = frozenset(_ORDINARY.split())
#: Words before numbers of patients, by which shorter ones are known.
NUMBERS = (
    r"(?:mrn|pid|pat(?:ient)?(?:_?(?:id|nr|no))?|hosp(?:ital)?|kis|fall(?:nr)?|acc(?:ession)?)"
)
#: Identifiers of DICOM, and those that are made at random or from contents.
UID = re.compile(r"[0-2](\.\d+){4,}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
HEX = re.compile(r"(?=.*\d[a-f])[0-9a-f]{6,}")
#: Days, as dates of birth are written: years first or last, also without signs in between.
DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-._ ]?(?:0[1-9]|1[0-2])[-._ ]?(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-._ ](?:0?[1-9]|1[0-2])[-._ ](?:19|20)?\d\d"
    r"|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)?\d\d)(?!\d)"
)
LONG = re.compile(r"\d{6,}")
#: Digits of a number that is no running number, which begins with zeros or is short.
SIGNIFICANT = 6
#: As some countries number their people.
PERSONAL = re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)")
AFTER_WORD = re.compile(rf"(?:^|[^a-z]){NUMBERS}[ _.:#-]?0*[1-9]\d{{4,}}", re.I)
#: The words of `HansMueller`, `MUELLER` and `mueller`.
WORD = re.compile(r"[^\W\d_a-zß-ÿ]+(?![a-zß-ÿ])|[^\W\d_]?[a-zß-ÿ]+|[^\W\d_]+")
#: Sounds of names, which codes of letters seldom have; and letters that are not Latin.
FOREIGN = re.compile(r"[^\x00-ɏ]")
SPOKEN = re.compile(rf"[aeiouyäöüáéíóúàèìòùâêîôûåæøœ]|{FOREIGN.pattern}", re.I)
#: Letters in a name of one word, such as `MUELLER_01`; one of fewer may be a code.
NAME = 5
#: So many different words before numbers are names, however short.
DIFFERENT = 3


def suspicious(ids: Iterable[str]) -> list[str]:
    """The ids, or names of groups, that look like names or numbers of patients.

    - Two words that do not name what images show (`MUELLER_HANS`, `HansMueller`, `Doe^Jane`).
    - Initials and a date.
    - Numbers of six digits or more, but for running numbers, which begin with zeros.
    - Single words of five letters or more before a number.

    Args:
        ids: of one data set; hashes are known by what the others look like.

    >>> suspicious(["MUELLER_HANS_3", "HM_1961-03-04", "case_4711081", "head12", "img_0001"])
    ['MUELLER_HANS_3', 'HM_1961-03-04', 'case_4711081']
    """
    names = list(dict.fromkeys(ids))
    hashes = _hashes(names)
    plain = {name: _without_codes(name, hashes) for name in names}
    words = {name: _words(text) for name, text in plain.items()}
    single = {own[0].lower() for own in words.values() if len(own) == 1 and len(own[0]) > 2}
    several = len(single) >= DIFFERENT
    return [n for n in names if _is_name(plain[n], words[n], several) or _is_number(plain[n])]


def remarks(ids: Iterable[str], fix: str) -> list[str]:
    """A sentence on ids that look like names or numbers of patients; none if none do.

    Args:
        ids: and names of groups, of one data set.
        fix: what to do about it.
    """
    found = suspicious(sorted(set(ids)))
    if not found:
        return []
    return [
        f"{len(found)} names of files or groups look like names or numbers of patients, such as "
        f"{masked(found[0])}; they are the ids, which results show and publish; {fix}"
    ]


def masked(name: str) -> str:
    """A name of which the first sign of every word and number is left, and no more than 40 signs.

    >>> masked("MUELLER_HANS_0"), masked("HM_1961-03-04")
    ('M******_H***_0', 'H*_1***-0*-0*')
    """
    hidden = re.sub(r"([^\W_])([^\W_]+)", lambda match: match[1] + "*" * len(match[2]), name)
    return visible(hidden[:40])


def _is_name(text: str, words: Sequence[str], several: bool) -> bool:
    """Whether a text has words that may be a person's; `several` if those of a set differ."""
    spoken = [word for word in words if len(word) > 1 and SPOKEN.search(word)]
    if len(spoken) > 1 or re.search(r"[^\W\d_][\^,] ?[^\W\d_]", text):  # as DICOM writes them
        return True
    if words and DATE.search(text):
        return True
    if len(words) > 1:  # an initial and a word
        return any(len(word) > 3 for word in spoken)
    enough = 3 if several else NAME
    return any(len(word) >= enough or FOREIGN.search(word) for word in spoken)


def _words(text: str) -> list[str]:
    """The words in a text, also those of `HansMueller`, that do not name what images show."""
    found = []
    for part in re.findall(r"[^\W\d_]+", text):
        if not _is_ordinary(part):
            found += [w for w in WORD.findall(part) if w.lower() not in ORDINARY]
    return found


def _is_ordinary(part: str) -> bool:
    """Whether a word, or the two that it is made of, name what images show."""
    word = part.lower()
    cuts = range(1, len(word))
    return word in ORDINARY or any(word[:k] in ORDINARY and word[k:] in ORDINARY for k in cuts)


def _is_number(text: str) -> bool:
    """Whether a text has a number that may be a patient's."""
    if PERSONAL.search(text) or AFTER_WORD.search(text):
        return True
    return any(len(run.lstrip("0")) >= SIGNIFICANT for run in LONG.findall(text))


def _without_codes(name: str, hashes: Collection[int]) -> str:
    """A name without identifiers and hexadecimal numbers; `hashes` are the lengths of these."""
    if UID.fullmatch(name) or UUID.fullmatch(name):
        return ""

    def is_code(part: str) -> bool:
        hexadecimal = len(part) in hashes and re.fullmatch(r"[0-9a-f]+", part)
        return bool(HEX.fullmatch(part) or hexadecimal)

    parts = re.split(r"([\W_]+)", name)
    return "".join("" if is_code(part) else part for part in parts)


def _hashes(names: Collection[str]) -> frozenset[int]:
    """The lengths at which more parts of names are hexadecimal numbers than plain ones."""
    parts = [part for name in names for part in re.split(r"[\W_]+", name)]
    codes = Counter(len(part) for part in parts if HEX.fullmatch(part))
    plain = Counter(len(part) for part in parts if part.isdigit())
    return frozenset(length for length, number in codes.items() if number > plain[length])
