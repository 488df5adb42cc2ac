"""What can be wrong with a study's tables, scans, settings and files, a record each."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

NAME = "bad"  # of the cohort and of the sweep
VARIANT = "mc3_18-scratch"
DEEP = "[" * 2000


@dataclass(frozen=True)
class Study:
    """A small study that is done: a table of scans, a cache, and a sweep of one run.

    Attributes:
        root: the folder that holds everything.
        subject: the one whose files are spoilt.
    """

    root: Path
    subject: str

    @property
    def table(self) -> Path:
        """The cohort table."""
        return self.root / "cohort.csv"

    @property
    def scan(self) -> Path:
        """The scan of `subject`."""
        return self.root / "scans" / f"{self.subject}.nii.gz"

    @property
    def mask(self) -> Path:
        """A mask of `subject`, which the table names; absent until a case writes it."""
        return self.root / "scans" / f"{self.subject}-mask.nii.gz"

    @property
    def cache(self) -> Path:
        """The folder of shards."""
        return next((self.root / "data" / "cache").glob(f"{NAME}-*"))

    @property
    def shard(self) -> Path:
        """The only shard."""
        return self.cache / "shard-0000.h5"

    @property
    def split(self) -> Path:
        """The split file."""
        return next((self.cache / "splits").glob("*.json"))

    @property
    def sweep(self) -> Path:
        """The sweep's folder."""
        return self.root / "runs" / NAME

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.sweep / VARIANT / "fold0"


Spoil = Callable[[Study], object]


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        name: what is wrong.
        command: what is called: a key of `COMMANDS` in bad_inputs.py.
        spoil: makes it wrong, in a copy of the study.
        says: what the line that refuses it must name.
        typed: further arguments.
        rejects: whether it is one scan that is left out, while the others are built.
    """

    name: str
    command: str
    spoil: Spoil
    says: str
    typed: tuple[str, ...] = ()
    rejects: bool = False


def put(path: Path, content: bytes | str) -> None:
    """Put another file in the place of one; whoever shares the old one keeps it."""
    remove(path)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    path.unlink(missing_ok=True)


def pipe(path: Path) -> None:
    """Put a pipe in the place of a file; reading it would wait for ever."""
    remove(path)
    os.mkfifo(path)


def device(path: Path) -> None:
    """Put a link to a device that never ends in the place of a file."""
    remove(path)
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    remove(path)
    path.mkdir()


def _in_table(change: Callable[[str], str]) -> Spoil:
    return lambda study: put(study.table, change(study.table.read_text(encoding="utf-8")))


def _image(path: Path, values: np.ndarray) -> None:
    image = nib.Nifti1Image(values, np.diag([8.0, 8, 8, 1]))
    put(path, gzip.compress(image.to_bytes()))


def _values(study: Study) -> np.ndarray:
    return np.asarray(nib.load(study.scan).dataobj, np.float32)


def _scan(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return lambda study: _image(study.scan, change(_values(study)))


def _header(**fields: object) -> Spoil:
    """Overwrite fields of the scan's header, sane or not."""

    def spoil(study: Study) -> None:
        content = bytearray(gzip.decompress(study.scan.read_bytes()))
        header = np.frombuffer(content, nib.Nifti1Header.template_dtype, 1)
        for name, value in fields.items():
            header[name][0] = value
        put(study.scan, gzip.compress(bytes(content)))

    return spoil


def _with(index: object, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[index] = value  # type: ignore[index]
        return values

    return change


def _with_mask(write: Spoil) -> Spoil:
    """Name a mask in the table, and write it."""

    def spoil(study: Study) -> None:
        lines = study.table.read_text(encoding="utf-8").splitlines()
        named = [
            f"{line},{study.mask if line.startswith(f'{study.subject},') else ''}"
            for line in lines[1:]
        ]
        put(study.table, "\n".join([f"{lines[0]},mask", *named]) + "\n")
        write(study)

    return spoil


def _flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    put(path, bytes(content))


def _voxels(study: Study, content: bytes) -> None:
    """Overwrite voxels inside the brain of a training subject, behind HDF5's back."""
    with h5py.File(study.shard, "r") as file:
        names = [str(name) for name in file["subject_ids"].asstr()]
        stored = file["volumes"]
        offset, (_, _, depth, height, width) = stored.id.get_offset(), stored.shape
        size = stored[0].nbytes
    trained = json.loads(study.split.read_text(encoding="utf-8"))["folds"][0]["train"][0]
    middle = 2 * (width // 2 + width * (height // 2 + height * (depth // 2)))
    start = offset + names.index(trained) * size + middle
    whole = study.shard.read_bytes()
    put(study.shard, whole[:start] + content + whole[start + len(content) :])


def _in_json(path: Path, **changes: object) -> None:
    put(path, json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def _untrained(spoil: Spoil) -> Spoil:
    """Spoil a study whose run has still to be trained."""

    def both(study: Study) -> None:
        for name in ("predictions.csv", "model.pt"):
            remove(study.run / name)
        spoil(study)

    return both


def _lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    put(path, "".join(change(path.read_text(encoding="utf-8").splitlines(keepends=True))))


def _nothing(study: Study) -> None:
    """The call itself is what is wrong."""


_HEADER = "subject_id,path,label,stripped\n"

TABLES = (
    Case("no table", "preprocess", lambda s: remove(s.table), "there is no file"),
    Case("a folder as table", "preprocess", lambda s: folder(s.table), "cohort.csv"),
    Case("a pipe as table", "preprocess", lambda s: pipe(s.table), "cohort.csv"),
    Case("a device as table", "preprocess", lambda s: device(s.table), "cohort.csv"),
    Case("a binary table", "preprocess", lambda s: put(s.table, bytes(range(256))), "cohort.csv"),
    Case("an empty table", "preprocess", lambda s: put(s.table, ""), "cohort.csv"),
    Case("a header alone", "preprocess", lambda s: put(s.table, _HEADER), "lists no scans"),
    Case("one column", "preprocess", lambda s: put(s.table, "subject_id\na\n"), "cohort.csv"),
    Case("Latin-1", "preprocess", lambda s: put(s.table, _HEADER.encode() + b"M\xfc"), "UTF-8"),
    Case(
        "no label column",
        "preprocess",
        _in_table(lambda t: t.replace("label", "class", 1)),
        "label",
    ),
    Case(
        "no subject column",
        "preprocess",
        _in_table(lambda t: t.replace("subject_id", "name", 1)),
        "subject_id",
    ),
    Case(
        "a column twice",
        "preprocess",
        _in_table(lambda t: t.replace("stripped", "label", 1)),
        "each column once",
    ),
    Case(
        "a column of the index",
        "preprocess",
        _in_table(lambda t: t.replace("stripped", "shard", 1)),
        "shard",
    ),
    Case(
        "a subject twice", "preprocess", _in_table(lambda t: t + t.splitlines()[1] + "\n"), "line"
    ),
    Case("too many fields", "preprocess", _in_table(lambda t: t + "a,b,c,true,e,f\n"), "fields"),
    Case("too few fields", "preprocess", _in_table(lambda t: t + "a,b\n"), "fields"),
    Case("an open quote", "preprocess", _in_table(lambda t: t + '"a,b,c,true\n'), "cohort.csv"),
    Case("no label", "preprocess", _in_table(lambda t: t + "a,b,,true\n"), "label"),
    Case(
        "a stripped that is neither",
        "preprocess",
        _in_table(lambda t: t + "a,b,c,maybe\n"),
        "maybe",
    ),
    Case("a bell in a name", "preprocess", _in_table(lambda t: t + "a\x07,b,c,true\n"), "control"),
    Case("one class", "submit", _nothing, "classes", ("data.classes=[LGG]", "--name", "other")),
)

SCANS = tuple(
    Case(name, "preprocess", spoil, says, rejects=True)
    for name, spoil, says in (
        ("no scan", lambda s: remove(s.scan), "No such file"),
        ("an empty scan", lambda s: put(s.scan, b""), "empty"),
        ("text as scan", lambda s: put(s.scan, "hello\n" * 100), "not a NIfTI"),
        ("a pipe as scan", lambda s: pipe(s.scan), "a pipe"),
        ("a device as scan", lambda s: device(s.scan), "a device"),
        ("a folder as scan", lambda s: folder(s.scan), "a folder"),
        ("a cut scan", lambda s: put(s.scan, s.scan.read_bytes()[:-2000]), "gzip"),
        ("a flipped bit in a scan", lambda s: _flip(s.scan, 0.6), "gzip"),
        ("a 4-D scan", _scan(lambda v: np.stack([v, v], -1)), "3-D"),
        ("a slice", _scan(lambda v: v[:, :, :1]), "3-D"),
        ("complex numbers", _scan(lambda v: v.astype(np.complex64)), "real numbers"),
        ("NaN in a scan", _scan(_with((3, 3, 3), np.nan)), "NaN"),
        ("infinity in a scan", _scan(_with((3, 3, 3), np.inf)), "infinite"),
        ("a constant scan", _scan(np.ones_like), "constant"),
        ("values beyond any scan's", _scan(lambda v: v * np.float32(1e33)), "no scan's"),
        ("voxels of 0 mm", _header(sform_code=0, pixdim=[1, 0, 8, 8, 0, 0, 0, 0]), "voxel sizes"),
        ("voxels of 90 mm", _header(srow_x=[90, 0, 0, 0]), "mm"),
        ("a singular affine", _header(srow_x=[0, 0, 0, 0]), "affine"),
        ("a terabyte announced", _header(dim=[3, 9999, 9999, 9999, 1, 1, 1, 1]), "truncated"),
        ("an infinite scale", _header(scl_slope=np.inf), "scale is not finite"),
        ("no mask", _with_mask(_nothing), "mask"),
        ("a pipe as mask", _with_mask(lambda s: pipe(s.mask)), "a pipe"),
        ("a device as mask", _with_mask(lambda s: device(s.mask)), "a device"),
        (
            "a mask of another grid",
            _with_mask(lambda s: _image(s.mask, np.eye(81).reshape(9, 9, 81))),
            "voxels",
        ),
        ("an empty mask", _with_mask(lambda s: _image(s.mask, _values(s) * 0)), "mask"),
    )
)

_TYPED = tuple(
    Case(typed[:40], "submit", _nothing, says, ("--name", "other", typed))
    for says, typed in (
        ("unknown", "train.epoch=3"),
        ("train.epochs", "train.epochs=0"),
        ("train.epochs", "train.epochs=many"),
        ("learning_rate", "train.learning_rate=nan"),
        ("r3d_19", "sweep.models=[r3d_19]"),
        ("weights", "sweep.weights=[magic]"),
        ("model", "model=r3d_18"),
        ("split.fold", "sweep.folds=[7]"),
        ("fp16", "train.precision=fp16"),
        ("label", "data.label=../label"),
        ("classes", "data.classes=[a,b]"),
        ("split", "split.n=0"),
        ("axis", "sweep.axes={split.n:[1,2]}"),
        ("recursion", f"sweep.models={DEEP}{DEEP.replace('[', ']')}"),
    )
)
SETTINGS = (
    *_TYPED,
    Case("an unknown sweep", "status", _nothing, "there are: bad", ("--sweep", "none")),
    Case("a name that leaves the folder", "status", _nothing, "letters", ("--sweep", "../x")),
)

OWN_FILES = (
    Case(
        "a binary sweep.yaml",
        "collect",
        lambda s: put(s.sweep / "sweep.yaml", b"\xff\0"),
        "sweep.yaml",
    ),
    Case("a deep sweep.yaml", "collect", lambda s: put(s.sweep / "sweep.yaml", DEEP), "sweep.yaml"),
    Case("a pipe as sweep.yaml", "status", lambda s: pipe(s.sweep / "sweep.yaml"), "sweep"),
    Case(
        "a sweep without runs",
        "status",
        lambda s: _lines(
            s.sweep / "sweep.yaml", lambda t: [*t[: t.index("runs:\n")], "runs: []\n"]
        ),
        "lists 0 runs",
    ),
    Case("a binary split", "collect", lambda s: put(s.split, b"\xff\0"), "split"),
    Case("a deep split", "collect", lambda s: put(s.split, DEEP), "split"),
    Case("a pipe as split", "collect", lambda s: pipe(s.split), "a pipe"),
    Case("another seed in the split", "collect", lambda s: _in_json(s.split, seed=7), "edited"),
    Case("a fold gone from the split", "collect", lambda s: _in_json(s.split, folds=[]), "edited"),
    Case("no index", "collect", lambda s: remove(s.cache / "index.csv"), "index.csv"),
    Case(
        "a cut index",
        "collect",
        lambda s: put(s.cache / "index.csv", (s.cache / "index.csv").read_bytes()[:-9]),
        "index.csv",
    ),
    Case("a pipe as index", "collect", lambda s: pipe(s.cache / "index.csv"), "a pipe"),
    Case(
        "binary duplicates",
        "collect",
        lambda s: put(s.cache / "duplicates.csv", b"\xff\0"),
        "duplicates.csv",
    ),
    Case(
        "cut predictions",
        "collect",
        lambda s: put(s.run / "predictions.csv", (s.run / "predictions.csv").read_bytes()[:-9]),
        "cut off",
    ),
    Case("a pipe as predictions", "collect", lambda s: pipe(s.run / "predictions.csv"), "a pipe"),
    Case(
        "a prediction twice",
        "collect",
        lambda s: _lines(s.run / "predictions.csv", lambda t: [*t, t[1]]),
        "more than once",
    ),
    Case(
        "zeros in a shard",
        "train",
        _untrained(lambda s: _voxels(s, bytes(20))),
        "shard-0000.h5 is damaged",
    ),
    Case(
        "a flipped bit in a shard",
        "train",
        _untrained(lambda s: _voxels(s, b"\x01")),
        "shard-0000.h5 is damaged",
    ),
    Case(
        "a cut shard",
        "train",
        _untrained(lambda s: put(s.shard, s.shard.read_bytes()[:-5000])),
        "shard-0000.h5",
    ),
    Case("no shard", "train", _untrained(lambda s: remove(s.shard)), "shard-0000.h5"),
    Case("a pipe as shard", "train", _untrained(lambda s: pipe(s.shard)), "a pipe"),
    Case(
        "a binary config.yaml",
        "train",
        _untrained(lambda s: put(s.run / "config.yaml", b"\xff\0")),
        "config.yaml",
    ),
    Case(
        "a deep config.yaml",
        "train",
        _untrained(lambda s: put(s.run / "config.yaml", DEEP)),
        "config.yaml",
    ),
    Case(
        "a pipe as config.yaml",
        "train",
        _untrained(lambda s: pipe(s.run / "config.yaml")),
        "a pipe",
    ),
    Case("no model.pt", "predict", lambda s: remove(s.run / "model.pt"), "model.pt"),
    Case(
        "a flipped bit in model.pt",
        "predict",
        lambda s: _flip(s.run / "model.pt", 0.5),
        "model.pt is damaged",
    ),
    Case("a pipe as model.pt", "predict", lambda s: pipe(s.run / "model.pt"), "a pipe"),
    Case("a pipe to predict", "predict", lambda s: pipe(s.scan), "a pipe"),
    Case("a pipe of predictions", "report", lambda s: pipe(s.run / "predictions.csv"), "a pipe"),
    Case(
        "a report of no predictions",
        "report",
        lambda s: put(s.run / "predictions.csv", "a,b\n1,2\n"),
        "column",
    ),
)

CASES = (*TABLES, *SCANS, *SETTINGS, *OWN_FILES)
