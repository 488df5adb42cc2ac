"use strict";
// The list of subjects: filters, order, and who is to be left out.
const page = JSON.parse(document.getElementById("data").textContent);
const field = name => document.getElementById(name);
const grid = field("grid");
const figures = [...grid.children]; // by place, as the index has them
const places = new Map(page.subjects.map((subject, place) => [subject.key, place]));
let shown = []; // places, in the order of the page

// In words: the value of a measure for a subject, empty where it is not known.
function written(place, number) {
  const value = page.subjects[place].values[number], measure = page.measures[number];
  if (value === null) return "";
  return value.toFixed(measure.digits) + (measure.unit ? " " + measure.unit : "");
}

function show() {
  const text = field("text").value.toLowerCase(), label = field("label").value;
  const source = field("source").value, only = field("only").value;
  const [measure, way] = field("order").value.split(" ").map(Number);
  shown = [];
  page.subjects.forEach((subject, place) => {
    const kept = subject.id.toLowerCase().includes(text)
      && (!label || subject.label === label) && (!source || subject.source === source)
      && (only !== "warned" || subject.warnings.length) && (only !== "out" || left.has(subject.key));
    figures[place].hidden = !kept;
    figures[place].querySelector(".n").textContent = written(place, measure < 0 ? 0 : measure);
    if (kept) shown.push(place);
  });
  if (measure >= 0) {
    const value = place => page.subjects[place].values[measure];
    // Those without a value come last, whichever way the others go.
    shown.sort((a, b) => (value(a) === null) - (value(b) === null) || way * (value(a) - value(b)));
  }
  grid.append(...shown.map(place => figures[place]));
  field("shown").textContent = `${shown.length} of ${figures.length}`;
}

// Volumes to leave out: key → reason. The browser keeps them, by key and without any name.
const shelf = "left out: " + location.pathname;
let left = new Map();
try {
  left = new Map(JSON.parse(localStorage.getItem(shelf) || "[]").filter(([key]) => places.has(key)));
} catch { /* a browser that keeps nothing for pages from a disk */ }

function leave(place, out, reason) {
  const key = page.subjects[place].key;
  if (out) left.set(key, reason); else left.delete(key);
  try { localStorage.setItem(shelf, JSON.stringify([...left])); } catch { /* as above */ }
  mark(place);
}

function mark(place) {
  const key = page.subjects[place].key, out = left.has(key);
  figures[place].classList.toggle("out", out);
  for (const box of [figures[place].querySelector(".leave"), ...extraBoxes(place)]) {
    const [check, reason] = box.querySelectorAll("input");
    check.checked = out;
    reason.hidden = !out;
    if (reason !== document.activeElement) reason.value = left.get(key) || "";
  }
  field("take").hidden = !left.size;
  field("count").textContent = `${left.size} to leave out`;
}

// The box in the viewer, where it shows this subject.
const extraBoxes = place => viewer.place === place ? [field("viewer-leave")] : [];

function listen(box, place) {
  const [check, reason] = box.querySelectorAll("input");
  check.addEventListener("change", () => {
    leave(place(), check.checked, reason.value);
    if (check.checked) reason.focus();
  });
  reason.addEventListener("input", () => leave(place(), true, reason.value));
}

const quoted = text => /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

// exclude.csv: those of an earlier file first, who are no longer on this page.
function excludeCsv() {
  const rows = page.subjects.filter(subject => left.has(subject.key))
    .map(subject => [subject.id, left.get(subject.key).trim() || "left out on qc.html"]);
  return [["subject_id", "reason"], ...page.earlier, ...rows]
    .map(row => row.map(quoted).join(",") + "\n").join("");
}

field("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([excludeCsv()], { type: "text/csv" }));
  link.download = "exclude.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

for (const name of ["text", "label", "source", "order", "only"]) field(name).addEventListener("input", show);
figures.forEach((figure, place) => {
  figure.querySelector(".picture").addEventListener("click", () => { location.hash = page.subjects[place].key; });
  listen(figure.querySelector(".leave"), () => place);
});
