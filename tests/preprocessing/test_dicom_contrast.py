"""What a series is, by the descriptions that scanners and hospitals give."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.dicom.contrast import guess, other_purpose
from preprocessing.dicom.headers import Frame, Header

# As found in public studies (ADNI, PPMI, RHUH-GBM, UPENN-GBM, TCGA, hospital heuristics).
STRUCTURAL = [
    ("t1_mprage_sag_p2_iso", "t1"),
    ("t1_mpr_ns_sag_p2_iso", "t1"),
    ("MPRAGE_GRAPPA2-NEW2016", "t1"),
    ("SAG FSPGR BRAVO", "t1"),
    ("sT1W_3D_TFE", "t1"),
    ("3D_T1_TFE_SAG_CS3", "t1"),
    ("AX T1 FLAIR", "t1"),
    ("t1_tirm_tra_dark-fluid", "t1"),
    ("t1_se_tra_nativ", "t1"),
    ("T1 AX SIN CONTRASTE", "t1"),
    ("Ax T1 pre", "t1"),
    ("t1_fl3d_tra FOV 24 cm", "t1"),
    ("AX T1 POST : Processed_CaPTk", "t1ce"),
    ("Ax T1,Flair +C", "t1ce"),
    ("AX T1 SE C+", "t1ce"),
    ("Obl T1 3D FSPGR IR IV", "t1ce"),
    ("T1 Gado postop", "t1ce"),
    ("t1_vibe_tra_fs_KM", "t1ce"),
    ("3D BRAVO POST STEALTH", "t1ce"),
    ("t2_tse_tra_320_p2", "t2"),
    ("FL:C/OAx T2 PROPELLER", "t2"),
    ("AX T2 AC-PC LINE ENTIRE BRAIN", "t2"),
    ("T2W_TSE", "t2"),
    ("t2_tirm_tra_dark-fluid", "flair"),
    ("WIP AX T2 FLAIR MVXD", "flair"),
    ("t2_space_dark-fluid_sag_iso", "flair"),
    ("OAx T2 FLAIR+C", "flair"),
    ("Ax Flair irFSE", "flair"),
    ("FLAIR_longTR SENSE", "flair"),
    ("AX PD", "pd"),
]
OTHER = [
    ("ep2d_diff_4scan_trace_p2_ADC", "diffusion"),
    ("AX DIFUSION B 1500", "diffusion"),
    ("dMRI_dir106_AP", "diffusion"),
    ("rfMRI_REST_PA_SBRef", "functional or perfusion"),
    ("AX 3D ASL", "functional or perfusion"),
    ("OAx PWI 50 Phase", "functional or perfusion"),
    ("AAHead_Scout_64ch-head-coil_MPR_sag", "localiser"),
    ("3-Pl T2* FGRE", "localiser"),
    ("SpinEchoFieldMap_AP", "calibration"),
    ("ASSET Calibration", "calibration"),
    ("Mag_Images", "susceptibility"),
    ("Ax SWAN", "susceptibility"),
    ("mIP_Images(SW)", "projection"),
    ("Ax T2* GRE", "T2*"),
    ("t2_fl2d_tra_hemo", "T2*"),
    ("TOF_3D_multi-slab", "angiography"),
    ("2D CSI-PROBE 144", "spectroscopy"),
    ("Sub T1 post", "map or subtraction"),
    ("T1map", "map or subtraction"),
    ("PhoenixZIPReport", "report"),
]


def header(
    description: str = "",
    *,
    protocol: str = "",
    scanning: tuple[str, ...] = (),
    times: tuple[float | None, float | None, float | None] = (None, None, None),
    agent: bool = False,
) -> Header:
    """One image; `times` are TR, TE and TI in ms."""
    return Header(
        path=Path(),
        patient="",
        birth="",
        sex="",
        age="",
        date="",
        study="",
        series="",
        instance="",
        number=1,
        modality="MR",
        sop_class="",
        image_type=(),
        burned_in=False,
        angiography=False,
        description=description,
        protocol=protocol,
        sequence="",
        scanning=scanning,
        tr_ms=times[0],
        ti_ms=times[2],
        agent=agent,
        manufacturer="",
        model="",
        field_t=None,
        rows=1,
        columns=1,
        samples=1,
        pixel_mm=(1.0, 1.0),
        frames=(Frame(None, None, times[1]),),
    )


@pytest.mark.parametrize(("description", "contrast"), STRUCTURAL)
def test_a_structural_description_gives_its_contrast(description: str, contrast: str) -> None:
    assert other_purpose(header(description)) == ""
    assert guess(header(description)).contrast == contrast


@pytest.mark.parametrize(("description", "purpose"), OTHER)
def test_any_other_description_gives_its_purpose(description: str, purpose: str) -> None:
    assert other_purpose(header(description)) == purpose


@pytest.mark.parametrize(
    ("scanning", "times", "contrast"),
    [
        (("GR", "IR"), (2300, 2.98, 900), "t1"),  # MPRAGE
        (("GR",), (8.2, 3.2, 450), "t1"),  # BRAVO
        (("SE",), (500, 12, None), "t1"),
        (("SE",), (4500, 98, None), "t2"),
        (("SE",), (3200, 409, None), "t2"),  # SPACE
        (("SE", "IR"), (9000, 86, 2500), "flair"),
        (("SE", "IR"), (5000, 388, 1650), "flair"),  # SPACE
        (("SE",), (3000, 14, None), "pd"),
        (("GR",), (650, 20, None), ""),  # T2*
        ((), (None, None, None), ""),
    ],
)
def test_without_words_the_times_of_the_sequence_decide(
    scanning: tuple[str, ...], times: tuple[float | None, ...], contrast: str
) -> None:
    nameless = header("Sag 3D", scanning=scanning, times=times)  # type: ignore[arg-type]
    assert guess(nameless).contrast == contrast


def test_an_agent_in_the_header_makes_a_t1_scan_t1ce_but_not_against_the_words() -> None:
    assert guess(header("AX T1 SE", agent=True)).contrast == "t1ce"
    assert guess(header("AX T1 SE pre", agent=True)).contrast == "t1"
    assert guess(header("AX T2 FLAIR", agent=True)).contrast == "flair"


def test_a_description_that_says_only_with_agent_takes_the_weighting_from_the_protocol() -> None:
    assert guess(header("AX POST GAD", protocol="t1_tse_tra")).contrast == "t1ce"


def test_a_double_echo_description_is_told_by_the_echo_time() -> None:
    for echo, contrast in ((12.0, "pd"), (96.0, "t2")):
        double = header("sT2W/PD_TSE", times=(3000, echo, None))
        assert guess(double).contrast == contrast


def test_words_that_the_times_contradict_are_pointed_out() -> None:
    reason = guess(header("T1", scanning=("SE",), times=(4500, 98, None))).reason
    assert reason == "word t1, although TR 4500 ms, TE 98 ms suits t2"


def test_the_reason_holds_no_text_of_the_header() -> None:
    reason = guess(header("t1 Doe John gado", protocol="Smith", times=(500, 12, None))).reason
    assert reason == "word t1, word gado"
