"""What the figures show is what they were given, at the sizes of a journal page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn import metrics as reference

from stfmri.evidence import figures
from stfmri.evidence.figures.confusion import file_part
from stfmri.evidence.figures.inputs import (
    Category,
    ClassRow,
    ClassScores,
    Compared,
    Compound,
    CurvePoint,
    Drawable,
    ForestRow,
    Group,
    LearningCurve,
    Point,
    PrecisionPlan,
    Subgroups,
    TrainedRuns,
)
from stfmri.evidence.figures.page import picture
from stfmri.evidence.figures.record import DrawnFigure
from stfmri.evidence.figures.style import DOUBLE_MM, MM_PER_INCH, SCREEN_MM, SINGLE_MM, wrapped
from stfmri.evidence.predicted import Predicted

CLASSES = ("LGG", "a <b> & $x$", "Healthy")
CATEGORIES = (Category.IMAGES, Category.LOOKUP, Category.CONTROL)


def predicted(name: str, skill: float, seed: int, folds: int = 3) -> Predicted:
    generator = np.random.default_rng(seed)
    size = 40 * folds
    label_N = generator.integers(0, len(CLASSES), size)
    logit_NK = generator.normal(size=(size, len(CLASSES)))
    logit_NK[np.arange(size), label_N] += skill
    probability_NK = np.exp(logit_NK) / np.exp(logit_NK).sum(axis=1, keepdims=True)
    fold_N = np.repeat(np.arange(folds), 40)
    return Predicted(
        name, f"The {name}", "", "", "", "", np.arange(size), fold_N, label_N, probability_NK
    )


def forest_rows(folds: int = 3) -> list[ForestRow]:
    procedure = (0.5, 0.95) if folds > 1 else None
    return [
        ForestRow("First", Category.NETWORK, 0.8, [0.75, 0.8, 0.85][:folds], (0.7, 0.9), procedure),
        ForestRow("Second", Category.NETWORK, 0.7, [0.7] * folds, (0.6, 0.8), procedure),
        ForestRow("Shuffled", Category.CONTROL, 0.4, [0.4] * folds, (0.3, 0.5)),
        ForestRow("Voxels", Category.IMAGES, 0.55, [0.55] * folds, (0.5, 0.6)),
        ForestRow("Histogram", Category.IMAGES, 0.65, [0.65] * folds, (0.6, 0.7)),
        ForestRow("Source", Category.LOOKUP, 0.5, [0.5] * folds, (0.4, 0.6)),
    ]


def everything(folds: int = 3) -> Drawable:
    generator = np.random.default_rng(0)
    epochs = [1.0, 2.0, 3.0]
    labels = [("The best", Category.NETWORK), ("Histogram", Category.IMAGES)]
    patients = np.geomspace(50, 2000, 20)
    return Drawable(
        classes=CLASSES,
        metric_label="Macro F1",
        variants=[predicted("best", 2.0, 1, folds), predicted("next", 1.0, 2, folds)],
        baselines=[
            Compared(predicted(one.name, 0.5, 3 + n, folds), one)
            for n, one in enumerate(CATEGORIES)
        ],
        forest=forest_rows(folds),
        class_scores=ClassScores(
            ("Recall", "F1"),
            [ClassRow(*label, generator.uniform(size=(len(CLASSES), 2))) for label in labels],
        ),
        training=[
            TrainedRuns("The best", [{"epoch": epochs, "train_loss": [3.0, 2.0, 1.0 + fold]}])
            for fold in range(folds)
        ],
        subgroups=Subgroups(
            [Compound(*labels[0], 0.8), Compound(*labels[1], 0.6)],
            {
                "sex": [
                    Group("female", 41, [Point(0.8, 0.7, 0.9), Point(0.6, 0.5, 0.7)]),
                    Group("male", 39, [Point(0.75, 0.65, 0.85), None]),
                ]
            },
        ),
        precision=PrecisionPlan(patients.tolist(), (1 / np.sqrt(patients)).tolist(), 80, 0.11),
        learning=learning_curves(),
    )


def learning_curves() -> list[LearningCurve]:
    points = [
        CurvePoint(20.0, 0.5, (0.4, 0.6), (0.3, 0.7)),
        CurvePoint(80.0, 0.7, (0.6, 0.8), None),
    ]
    return [
        LearningCurve(f"The {category.name}", category, points)
        for category in (Category.NETWORK, Category.IMAGES)
    ]


@pytest.fixture(scope="module")
def drawn() -> dict[str, DrawnFigure]:
    return {one.name: one for _, one in figures.draw_all(everything())}


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    found = next(one for one in axes.lines if one.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def texts_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_kind_of_figure_is_drawn(drawn: dict[str, DrawnFigure]) -> None:
    shown = [one.name for one in drawn.values() if one.on_page]
    assert shown == [kind.name for kind in figures.FIGURES]


def test_no_figure_is_drawn_of_what_is_missing() -> None:
    assert list(figures.draw_all(Drawable(CLASSES, "Macro F1"))) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("forest", {"forest": ()}),
        ("classwise", {"class_scores": None}),
        ("training", {"training": [TrainedRuns("The best", [{}])]}),
        ("subgroups", {"subgroups": None}),
        ("precision_plan", {"precision": None}),
        ("learning_curve", {"learning": ()}),
        ("roc", {"variants": ()}),
        ("reliability", {"variants": ()}),
    ],
)
def test_one_missing_input_leaves_out_one_figure(name: str, change: dict[str, object]) -> None:
    kind = next(kind for kind in figures.FIGURES if kind.name == name)
    assert list(kind.draw(replace(everything(), **change))) == []  # type: ignore[arg-type]


def test_the_forest_shows_the_values_and_both_intervals(drawn: dict[str, DrawnFigure]) -> None:
    axes = panel(drawn["forest"].figure, "forest")
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "First",
        "Second",
        "Histogram",
        "Voxels",
        "Source",
        "Shuffled",
    ]
    for number, row in enumerate(forest_rows()[:2]):
        assert line(axes, f"value {number}")[0] == [row.value]
        assert line(axes, f"models {number}")[0] == list(row.networks)
        assert row.procedure is not None
        assert line(axes, f"procedure {number}")[0] == list(row.procedure)
        assert line(axes, f"folds {number}")[0] == list(row.fold_values)
    assert line(axes, "best image baseline")[0] == [0.65, 0.65]
    assert {"0.800", "0.700–0.900", "0.500–0.950"} <= set(texts_of(axes))


def test_the_forest_names_each_category_and_each_bar(drawn: dict[str, DrawnFigure]) -> None:
    for figure in (drawn["forest"].figure, drawn["forest"].narrow):
        assert figure is not None
        legend = "\n".join(legend_of(figure))
        for category in Category:
            assert category.value in legend
        assert "these trained models on new patients" in legend
        assert "the training procedure at this size" in legend
        assert "Best image baseline: Histogram" in legend


def test_a_learning_curve_shows_values_and_intervals_by_number_of_subjects(
    drawn: dict[str, DrawnFigure],
) -> None:
    figure = drawn["learning_curve"].figure
    for title, label in (("Networks", "The NETWORK"), ("Baselines", "The IMAGES")):
        axes = panel(figure, f"learning curve {title}")
        assert axes.get_xscale() == "log"
        assert axes.get_xticks().tolist() == [20, 80]
        places, values = line(axes, label)
        # One curve a panel, so none is moved aside.
        np.testing.assert_allclose(places, [20, 80])
        assert values == [0.5, 0.7]
        bars = [
            np.asarray(one.get_ydata()).tolist()
            for one in axes.lines
            if str(one.get_label()).startswith("_interval")
        ]
        assert bars == [[0.4, 0.6], [0.3, 0.7], [0.6, 0.8]]


def test_one_fold_draws_no_interval_of_the_procedure() -> None:
    (one,) = figures.FIGURES[0].draw(everything(folds=1))
    axes = panel(one.figure, "forest")
    assert not [found for found in axes.lines if "procedure" in str(found.get_label())]
    assert not any("procedure" in text for text in legend_of(one.figure))
    assert "procedure" not in one.caption


def test_what_lies_far_below_is_an_arrow_and_squeezes_nothing() -> None:
    rows = [
        ForestRow("Network", Category.NETWORK, 0.99, [0.99], (0.98, 1.0)),
        ForestRow("Majority", Category.LOOKUP, 0.2, [0.2], (0.1, 0.3)),
    ]
    (one,) = figures.FIGURES[0].draw(Drawable(CLASSES, "Macro F1", forest=rows))
    axes = panel(one.figure, "forest")
    assert axes.get_xlim()[0] > 0.9
    assert line(axes, "arrow 1")[0][0] > axes.get_xlim()[0]
    assert "0.200" in texts_of(axes)
    assert "Arrows" in one.caption


def test_confusion_matrices_show_counts_and_shares_of_rows(drawn: dict[str, DrawnFigure]) -> None:
    for variant in everything().variants:
        axes = panel(drawn["confusion"].figure, f"confusion {variant.name}")
        counts = reference.confusion_matrix(variant.label_N, variant.probability_NK.argmax(axis=1))
        shares = counts / counts.sum(axis=1, keepdims=True)
        mesh = next(one for one in axes.collections if isinstance(one, QuadMesh))
        np.testing.assert_allclose(np.ravel(mesh.get_array()), shares.ravel())
        assert mesh.get_clim() == (0, 1)
        numbers = [re.findall(r"\d+", text) for text in texts_of(axes)]
        assert [int(count) for _, count in numbers] == counts.ravel().tolist()
        np.testing.assert_allclose(
            [float(share) for share, _ in numbers], 100 * shares.ravel(), atol=0.5
        )


def test_confusion_matrices_hold_the_best_baseline_of_each_kind_and_stop_at_twelve() -> None:
    many = replace(everything(), variants=[predicted(f"v{n}", 1.0, n) for n in range(30)])
    kind = next(kind for kind in figures.FIGURES if kind.name == "confusion")
    together, *alone = kind.draw(many)
    names = [axes.get_label() for axes in together.figure.axes if axes.get_visible()]
    matrices = [name for name in names if str(name).startswith("confusion ")]
    assert len(matrices) == 12
    assert [f"confusion {one.name}" for one in CATEGORIES] == matrices[-3:]
    assert "best 9 of 30" in together.caption
    assert len(alone) == 6
    assert not any(one.on_page for one in alone)


@pytest.mark.parametrize(
    ("name", "area"),
    [("roc", reference.roc_auc_score), ("precision_recall", reference.average_precision_score)],
)
def test_areas_are_scikit_learns_means_over_folds(
    drawn: dict[str, DrawnFigure], name: str, area: Callable[..., float]
) -> None:
    best = everything().variants[0]
    for number in range(len(CLASSES)):
        axes = panel(drawn[name].figure, f"{name} {number}")
        areas = [
            area(best.label_N[fold] == number, best.probability_NK[fold, number])
            for fold in (best.fold_N == n for n in best.folds)
        ]
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_texts()[0].get_text().endswith(f"{np.mean(areas):.3f}")
        share = float((best.label_N == number).mean())
        assert line(axes, "chance")[1] == ([0, 1] if name == "roc" else [share, share])


def test_curves_have_bands_only_with_several_folds(drawn: dict[str, DrawnFigure]) -> None:
    assert len(panel(drawn["roc"].figure, "roc 0").collections) == 3  # two networks, one baseline
    kind = next(kind for kind in figures.FIGURES if kind.name == "roc")
    (one,) = kind.draw(everything(folds=1))
    assert len(panel(one.figure, "roc 0").collections) == 0
    assert "bands" not in one.caption


def test_the_reliability_diagram_shows_the_share_of_right_predictions(
    drawn: dict[str, DrawnFigure],
) -> None:
    best = everything().variants[0]
    confidence_N = best.probability_NK.max(axis=1)
    right_N = best.probability_NK.argmax(axis=1) == best.label_N
    axes = panel(drawn["reliability"].figure, "reliability best")
    found = dict(zip(*line(axes, "many"), strict=True)) | dict(zip(*line(axes, "few"), strict=True))
    bins = 15
    for low in range(bins):
        inside = (confidence_N > low / bins) & (confidence_N <= (low + 1) / bins)
        if inside.any():
            at = min(found, key=lambda x: abs(x - confidence_N[inside].mean()))
            assert at == pytest.approx(confidence_N[inside].mean())
            assert found[at] == pytest.approx(right_N[inside].mean())
    assert re.search(r"ECE 0\.\d{3}$", axes.get_title())


def test_heat_maps_show_the_scores_and_a_dash_for_the_undefined() -> None:
    value_KM = np.array([[0.25, np.nan], [0.5, 0.75], [1.0, 0.0]])
    scores = ClassScores(("Recall", "F1"), [ClassRow("One", Category.NETWORK, value_KM)])
    kind = next(kind for kind in figures.FIGURES if kind.name == "classwise")
    (one,) = kind.draw(Drawable(CLASSES, "Macro F1", class_scores=scores))
    assert texts_of(panel(one.figure, "classwise 0")) == ["0.250", "–"]
    assert texts_of(panel(one.figure, "classwise 2")) == ["1.000", "0.000"]


def test_training_curves_show_both_losses_where_there_are_two() -> None:
    run = {"epoch": [1.0, 2.0], "train_loss": [2.0, 1.0], "val_loss": [2.5, 2.25]}
    kind = next(kind for kind in figures.FIGURES if kind.name == "training")
    both = Drawable(CLASSES, "", training=[TrainedRuns("One", [run])])
    (one,) = kind.draw(both)
    axes = panel(one.figure, "training One")
    assert line(axes, "train_loss") == ([1, 2], [2, 1])
    assert line(axes, "val_loss") == ([1, 2], [2.5, 2.25])
    assert legend_of(one.figure) == ["Training", "Validation"]
    del run["val_loss"]
    (one,) = kind.draw(both)
    assert legend_of(one.figure) == ["Training"]


def test_subgroups_show_points_intervals_and_counts(drawn: dict[str, DrawnFigure]) -> None:
    figure = drawn["subgroups"].figure
    axes = panel(figure, "subgroups")
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["female (n = 41)", "male (n = 39)"]
    assert line(axes, "sex female 0")[0] == [0.8]
    assert line(axes, "sex female 1")[0] == [0.6]
    bars = [np.asarray(one.get_xdata()).tolist() for one in axes.lines]
    assert [0.65, 0.85] in bars
    assert "sex male 1" not in [one.get_label() for one in axes.lines]
    for category in (Category.NETWORK, Category.IMAGES):
        assert any(text.startswith(category.value) for text in legend_of(figure))


def test_the_precision_plan_marks_the_present_study(drawn: dict[str, DrawnFigure]) -> None:
    plan = everything().precision
    assert plan is not None
    axes = panel(drawn["precision_plan"].figure, "precision plan")
    assert line(axes, "Expected") == (list(plan.patients), list(plan.half_width))
    assert line(axes, "Present study") == ([80], [0.11])


def test_sizes_are_one_or_two_columns_of_a_journal_in_every_format(
    drawn: dict[str, DrawnFigure],
) -> None:
    for one in drawn.values():
        width_mm = one.figure.get_figwidth() * MM_PER_INCH
        assert min(abs(width_mm - SINGLE_MM), abs(width_mm - DOUBLE_MM)) < 0.01
        assert one.figure.get_figheight() * MM_PER_INCH <= 247
        if one.narrow is not None:
            assert one.narrow.get_figwidth() * MM_PER_INCH == pytest.approx(SCREEN_MM)
    figure = drawn["precision_plan"].figure
    points = SINGLE_MM * 72 / MM_PER_INCH
    svg = figures.to_svg(figure).decode()
    found = re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)
    assert found is not None
    assert float(found[1]) == pytest.approx(points, abs=0.01)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", figures.to_pdf(figure))
    assert box is not None
    assert float(box[1]) == pytest.approx(points, abs=0.01)


def test_bitmaps_have_300_dots_an_inch(drawn: dict[str, DrawnFigure]) -> None:
    with Image.open(io.BytesIO(figures.to_png(drawn["precision_plan"].figure))) as image:
        assert image.width == int(SINGLE_MM / MM_PER_INCH * 300)
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)


def test_letters_have_six_to_eight_points(drawn: dict[str, DrawnFigure]) -> None:
    for one in drawn.values():
        for text in one.figure.findobj(Text):
            if isinstance(text, Text) and text.get_text():
                assert 6 <= text.get_fontsize() <= 8, (one.name, text.get_text())


def test_text_stays_text_and_names_are_no_markup(drawn: dict[str, DrawnFigure]) -> None:
    svg = figures.to_svg(drawn["roc"].figure).decode()
    assert "a &lt;b&gt; &amp; $x$" in svg
    page = picture(drawn["roc"])
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "<source media=" in page


@pytest.mark.parametrize("to_bytes", [figures.to_svg, figures.to_pdf, figures.to_png])
def test_the_same_input_gives_the_same_bytes(to_bytes: Callable[[Figure], bytes]) -> None:
    for kind in figures.FIGURES:
        if kind.name in ("forest", "reliability"):
            (one,), (other,) = kind.draw(everything()), kind.draw(everything())
            assert to_bytes(one.figure) == to_bytes(other.figure)


@pytest.mark.parametrize("classes", [2, 8])
def test_no_text_leaves_the_page_whatever_the_names(classes: int) -> None:
    names = tuple(f"Diffuse astrocytoma, IDH-mutant, grade {n}" for n in range(classes))
    base = everything()
    generator = np.random.default_rng(0)

    def relabelled(one: Predicted) -> Predicted:
        size = len(one.label_N)
        return replace(
            one,
            label=f"{one.label} of r3d_18, pre-trained, lr0.001, spacing_mm=2, augment=heavy",
            label_N=generator.integers(0, classes, size),
            probability_NK=generator.dirichlet(np.ones(classes), size),
        )

    long = replace(
        base,
        classes=names,
        variants=[relabelled(one) for one in base.variants],
        forest=[replace(row, label=f"{row.label} {'very long ' * 9}") for row in base.forest],
        class_scores=ClassScores(
            ("Precision", "Recall", "Specificity", "F1"),
            [ClassRow("Long " * 20, Category.NETWORK, generator.uniform(size=(classes, 4)))],
        ),
        baselines=[replace(one, predicted=relabelled(one.predicted)) for one in base.baselines],
    )
    for _, one in figures.draw_all(long):
        for figure in filter(None, (one.figure, one.narrow)):
            box = figure.get_tightbbox()
            width, height = figure.get_size_inches()
            slack = 0.04  # inches
            assert box.x0 >= -slack, one.name
            assert box.y0 >= -slack, one.name
            assert box.x1 <= width + slack, one.name
            assert box.y1 <= height + slack, one.name


def test_a_long_name_keeps_its_end_in_the_lines_it_has() -> None:
    name = "Mixed Convolution, pre-trained, lr0.003, spacing_mm=2"
    assert wrapped(name, 20, 1).endswith("spacing_mm=2"[-8:])
    for lines in (1, 2, 3):
        found = wrapped(name, 16, lines).split("\n")
        assert len(found) <= lines
        assert max(map(len, found)) <= 16
    assert wrapped("ResNet3D, pre-trained", 14) == "ResNet3D,\npre-trained"
    assert wrapped("short", 14) == "short"


def test_variants_with_letters_that_no_file_name_has_keep_files_of_their_own() -> None:
    assert file_part("r3d_18-scratch") == "r3d_18_scratch"
    assert file_part("é-1") != file_part("à-1")
