"""Guess a series' contrast from its header: words first, then the times of the sequence.

The reason names only words of the lists below and numbers, never the header's own text: series
descriptions may hold names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from preprocessing.dicom.headers import Header

CONTRASTS = ("t1", "t1ce", "t2", "flair", "pd")


@dataclass(frozen=True)
class Guess:
    """A contrast, or '' where there is none, and why."""

    contrast: str
    reason: str


@dataclass(frozen=True)
class Words:
    """One meaning and the words that carry it, matched in normalised text (see `_plain`)."""

    name: str
    pattern: re.Pattern[str]


def _words(name: str, *alternatives: str) -> Words:
    return Words(name, re.compile("|".join(alternatives)))


# What is no structural contrast, in the order of looking. \b stands where a short word could be
# part of another.
OTHERS = (
    _words("localiser", r"locali[sz]er", r"scout", r"survey", r"\bloc\b", r"3[ -]?pl(ane)?\b"),
    _words("calibration", r"calib", r"\bcal head\b", r"field ?map", r"\bb0\b", r"b1 ?map", "shim"),
    _words(
        "diffusion",
        *(r"diff", r"difusi", r"\be?dwi\b", r"\be?adc", r"\bdti", r"trace", r"tensor"),
        *(r"\bcol ?fa\b", r"\bfa\b(?! ?\d)", r"\bb ?1000\b", r"dmri", r"\bdir\d+"),
    ),
    _words(
        "functional or perfusion",
        *(r"fmri", r"bold", r"\brest(ing)?\b", r"perf(?!ec)", r"\bpwi\b", r"\bdsc\b", r"\bdce\b"),
        *(r"\basl\b", r"\bpcasl\b", r"\br?cb[fv]\b", r"\bmtt\b", r"\bttp\b", r"dynamic", r"sbref"),
    ),
    _words("susceptibility", r"\bswi", r"\bswan\b", r"\bqsm\b", r"mag images", r"pha images"),
    _words("T2*", r"t2w? ?\*", r"t2[ -]?star", r"hemo", r"t2w? f[lf]\w*2d", r"t2w? ffe", r"\bhaem"),
    _words(
        "angiography",
        r"\btof",
        r"angio",
        r"\bmra\b",
        r"\bmrv\b",
        r"(?<!ac[ -])\bpca?3?d?\b",
        r"venog",
    ),
    _words("projection", r"\bm?i?mip\b", r"min ?ip"),
    _words("spectroscopy", r"\bcsi\b", r"\bsvs\b", r"spectro", r"\bpress\b", r"\bcest\b"),
    _words(
        "map or subtraction", r"\bmaps?\b", r"t[12] ?map", r"\bsub(tr\w*)?\b", r"t1rho", r"relaxo"
    ),
    _words(
        "report", r"phoenix", r"report", r"screen ?sa?v?e?", r"\bprocessed images?\b", r"summary"
    ),
)
FLAIR = _words("flair", r"flair", r"dark[ -]?fl", r"tirm", r"\bir ?fse")
PROTON = _words("pd", r"\bpdw?\b", r"\bspdw?\b", r"proton", r"dens")
T2 = _words("t2", r"t2(?!\d)")
T1 = _words(
    "t1",
    *(r"t1(?!\d)", r"mp[ -]?rage", r"mp2rage", r"\bmpr\b", r"f?spgr", r"bravo", r"\btfe\b"),
    *(r"tfl3d", r"vibe", r"\bflash", r"fame\b"),
)
WITH_AGENT = _words(
    "contrast agent",
    *(r"\+ ?(c|gd|gad|gado|km|k)\b", r"(?<![a-z])c ?\+", r"\bce\b", r"t1w? ?(ce|c|gd|km)\b"),
    *(r"\bpost\b(?! ?-?op)", r"gado", r"\bgad\b", r"\bgd\b", r"\bkm\b", r"contrast", r"\biv\b"),
    *(r"dotarem", r"gadavist", r"magnevist", r"\bmdc\b", r"\bcivs?\b", r"enhanced"),
)
WITHOUT_AGENT = _words(
    "no contrast agent",
    *(r"\bpre\b(?! ?-?op)", r"non[ -]?con", r"without", r"\bw o\b", r"\bwo\b", r"\bohne\b"),
    *(r"nativ", r"\bsin\b", r"\bsans\b", r"(?<![a-z -])c-(?![a-z])", r"\bunenh", r"\bno con"),
)

# Times in ms between which the textbook contrasts lie; a spin echo's, turbo spin echo included.
SHORT_TE, LONG_TE = 40.0, 70.0
SHORT_TR, LONG_TR = 1200.0, 1800.0
FLUID_NULLED_TI = 1500.0


def other_purpose(header: Header) -> str:
    """What a series is for, where its words say that it is no structural scan; '' otherwise."""
    for text in _texts(header):
        for words in OTHERS:
            match = words.pattern.search(text)
            if match:
                return words.name
        if _weighting(text, header)[0]:
            return ""  # the description says what it is; the protocol's name may be inherited
    if "EP" in header.scanning:
        return "echo-planar imaging"
    return "angiography" if header.angiography else ""


def guess(header: Header) -> Guess:
    """The contrast of one series."""
    by_times, times = _by_times(header)
    contrast, reason = "", ""
    for text in _texts(header):
        contrast, word = _weighting(text, header)
        if contrast:
            reason = f"word {word}"
            if by_times and by_times != contrast:
                reason += f", although {times} suits {by_times}"
            break
    else:
        contrast, reason = by_times, times
    if not contrast:
        return Guess("", f"no known word; {times}")
    if contrast == "t1":
        given, why = _agent(header)
        return Guess("t1ce" if given else "t1", f"{reason}{why}")
    return Guess(contrast, reason)


def _weighting(text: str, header: Header) -> tuple[str, str]:
    """Contrast without regard to an agent, and the word that says so."""
    found = {
        words.name: match.group().strip()
        for words in (FLAIR, PROTON, T2, T1)
        if (match := words.pattern.search(text))
    }
    # Fluid is dark in T1 anyway: "T1 FLAIR" is a T1 scan. "T2 FLAIR" is FLAIR.
    if "flair" in found and ("t2" in found or "t1" not in found):
        return "flair", found["flair"]
    if "pd" in found and "t2" in found:
        echo = header.frames[0].echo_ms
        if echo is None:
            return "", ""
        name = "pd" if echo < SHORT_TE else "t2"
        return name, f"{found['pd']} and {found['t2']}, {_time('TE', echo)}"
    for name in ("t1", "t2", "pd"):
        if name in found:
            return name, found[name]
    return "", ""


def _agent(header: Header) -> tuple[bool, str]:
    """Whether a contrast agent was given, and the end of the sentence that says why."""
    for text in _texts(header):
        without, given = WITHOUT_AGENT.pattern.search(text), WITH_AGENT.pattern.search(text)
        if without:
            return False, f", word {without.group().strip()}"
        if given:
            return True, f", word {given.group().strip()}"
    return header.agent, ", contrast agent in the header" if header.agent else ""


def _by_times(header: Header) -> tuple[str, str]:
    """Contrast by repetition, echo and inversion time, and these times in words."""
    tr, te, ti = header.tr_ms, header.frames[0].echo_ms, header.ti_ms
    said = ", ".join(
        _time(name, value) for name, value in (("TR", tr), ("TE", te), ("TI", ti)) if value
    )
    if not tr or not te:
        return "", said or "no times in the header"
    kind = ""
    if ti and ti >= FLUID_NULLED_TI and te >= LONG_TE:
        kind = "flair"
    elif "GR" in header.scanning:
        # Prepared or spoiled gradient echo: T1. Long echoes are T2*.
        kind = "t1" if te < 10 else ""
    elif tr < SHORT_TR and te < SHORT_TE:
        kind = "t1"
    elif tr >= LONG_TR and te >= LONG_TE:
        kind = "t2"
    elif tr >= LONG_TR and te < SHORT_TE and not ti:
        kind = "pd"
    return kind, said


def _texts(header: Header) -> list[str]:
    """The header's own words, the most telling field first, normalised."""
    fields = (header.description, header.protocol, header.sequence)
    return [text for text in map(_plain, fields) if text]


def _plain(text: str) -> str:
    """Lower case; everything but letters, digits, +, - and * becomes a blank."""
    return " ".join(re.sub(r"[^a-z0-9+*-]+", " ", text.lower()).split())


def _time(name: str, value: float) -> str:
    return f"{name} {value:.0f} ms"
