// The viewer: three planes of one subject, drawn by NiiVue, which is loaded when first needed.
const dialog = field("viewer");
const viewer = { place: -1, views: [], view: 0, outline: true, niivue: null, turn: 0 };
const arrived = new Map(); // key → what to do with its views

// Called by qc/<key>.js.
function showVolume(key, views) {
  arrived.get(key)?.(views);
  arrived.delete(key);
}

function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = () => { script.remove(); resolve(); };
    script.onerror = () => {
      script.remove();
      reject(new Error(`${path} is not there: the folders qc and viewer must lie beside this page`));
    };
    document.head.append(script);
  });
}

async function loadViews(key) {
  let views = [];
  arrived.set(key, found => { views = found; });
  await loadScript(`qc/${key}.js`);
  return views;
}

async function start() {
  if (viewer.niivue) return;
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("this browser cannot draw volumes: it has no WebGL 2");
  }
  if (!window.niivue) await loadScript("viewer/niivue.js");
  const drawn = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.4, 0.75, 1, 0.7], crosshairWidth: 0.8, crosshairWidthUnit: "mm",
    isCornerOrientationText: true,
    multiplanarShowRender: 0, multiplanarPadPixels: 4, dragAndDropEnabled: false, loadingText: "", logLevel: "error",
    isAntiAlias: false,
  });
  drawn.addColormap("outline", { R: [255, 255], G: [176, 176], B: [0, 0], A: [0, 220], I: [0, 255] });
  await drawn.attachToCanvas(field("canvas"), false);
  drawn.setSliceType(drawn.sliceTypeMultiplanar);
  viewer.niivue = drawn;
}

// Opens a subject; a later call overtakes one that still loads.
async function openSubject(place) {
  const turn = ++viewer.turn, subject = page.subjects[place];
  viewer.place = place;
  delete dialog.dataset.shown;
  describe(place);
  if (!dialog.open) dialog.showModal();
  say("loading …");
  try {
    await start();
    const views = await loadViews(subject.key);
    if (turn !== viewer.turn) return;
    // The same contrast as before, where both have it.
    const name = viewer.views[viewer.view]?.name;
    viewer.views = views;
    field("views").replaceChildren(...views.map(({ name }, number) => button(name, () => choose(number))));
    await choose(Math.max(0, views.findIndex(view => view.name === name)));
    if (turn === viewer.turn) dialog.dataset.shown = subject.key;
  } catch (error) {
    if (turn === viewer.turn) say(error.message);
  }
}

async function choose(number) {
  const turn = viewer.turn, drawn = viewer.niivue, view = viewer.views[number];
  const image = { base64: view.image, name: "image.nii.gz", colormap: "gray", cal_min: 0, cal_max: 252 };
  const edge = { base64: view.edge, name: "edge.nii.gz", colormap: "outline", cal_min: 0, cal_max: 1 };
  const volumes = await Promise.all([image, edge].map(one => niivue.NVImage.loadFromBase64(one)));
  if (turn !== viewer.turn) return;
  viewer.view = number;
  drawn.volumes = [];
  drawn.overlays = [];
  for (const volume of volumes) drawn.addVolume(volume);
  drawn.scene.crosshairPos = [0.5, 0.5, 0.5];
  drawn.setOpacity(1, viewer.outline ? 1 : 0);
  [...field("views").children].forEach((one, place) => one.setAttribute("aria-pressed", place === number));
  say("");
}

function describe(place) {
  const subject = page.subjects[place], at = shown.indexOf(place);
  field("viewer-id").textContent = subject.id;
  field("viewer-of").textContent = [subject.label, subject.source].join(" · ");
  field("viewer-at").textContent = at < 0 ? "" : `${at + 1} of ${shown.length}`;
  field("viewer-warnings").textContent = subject.warnings.join("; ");
  field("back").disabled = at <= 0;
  field("next").disabled = at < 0 || at + 1 >= shown.length;
  field("numbers").replaceChildren(...page.measures.flatMap((measure, number) => {
    const value = written(place, number), row = document.createElement("tr");
    for (const text of [measure.meaning, value]) row.insertCell().textContent = text;
    return value ? [row] : [];
  }));
  mark(place);
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", action);
  return made;
}

function say(text) {
  field("note").textContent = text;
  field("note").hidden = !text;
}

function step(by) {
  const next = shown[shown.indexOf(viewer.place) + by];
  if (next !== undefined) location.replace("#" + page.subjects[next].key);
}

function setOutline(on) {
  viewer.outline = on;
  field("outline").setAttribute("aria-pressed", on);
  if (viewer.niivue?.volumes.length > 1) viewer.niivue.setOpacity(1, on ? 1 : 0);
}

// Up and down move through the axial slices; the wheel, over any plane, through that one's.
function slice(by) {
  if (viewer.niivue?.volumes.length) viewer.niivue.moveCrosshairInVox(0, 0, by);
}

const KEYS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1),
  ArrowUp: () => slice(1), ArrowDown: () => slice(-1), PageUp: () => slice(5), PageDown: () => slice(-5),
  o: () => setOutline(!viewer.outline),
  c: () => viewer.views.length && choose((viewer.view + 1) % viewer.views.length),
  x: () => leave(viewer.place, !left.has(page.subjects[viewer.place].key), ""),
};
dialog.addEventListener("keydown", event => {
  if (event.target.type === "text" || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key];
  // NiiVue has keys of its own, such as `c` for a clip plane.
  if (event.key !== "Escape" && event.key !== "Tab") event.stopPropagation();
  if (action) {
    event.preventDefault();
    action();
  }
}, true);

// The address names the subject that is open, so that the browser's back button closes it.
function follow() {
  const place = places.get(location.hash.slice(1));
  if (place !== undefined) openSubject(place);
  else if (dialog.open) dialog.close();
}
addEventListener("hashchange", follow);
dialog.addEventListener("close", () => {
  viewer.turn++;
  viewer.place = -1;
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  show();
});
field("close").addEventListener("click", () => dialog.close());
field("back").addEventListener("click", () => step(-1));
field("next").addEventListener("click", () => step(1));
field("outline").addEventListener("click", () => setOutline(!viewer.outline));
listen(field("viewer-leave"), () => viewer.place);

figures.forEach((_, place) => mark(place));
show();
follow();
