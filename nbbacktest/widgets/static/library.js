// Unpacks the chart library once for a page, however many figures there are, and hands it to all of them.
// The key names its version: panels of two kernels with two versions may share a page.
const libraries = (globalThis.nbbtCharts ??= new Map());

function slot(key) {
  if (!libraries.has(key)) {
    const made = {};
    made.ready = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    made.ready.catch(() => {});
    libraries.set(key, made);
  }
  return libraries.get(key);
}

async function unpack(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const source = await new Response(stream).blob();
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// The bundle answers each update with the whole difference between what it drew and what it was told. Nobody reads that
// here: the number alone is the acknowledgement, and one figure's is enough for a frame. What nobody can see isn't drawn.
// This module is a copy of our own, so no other figure is changed.
function quiet(library) {
  const view = library.FigureView?.prototype;
  if (!view?._sendTraceDeltas || !view?._sendLayoutDelta || !view?.do_update) return library;
  view._sendTraceDeltas = function (id) {
    if (!this.model.get("_acknowledges")) return;
    this.model.set("_js2py_traceDeltas", { trace_deltas: [], trace_edit_id: id });
    this.touch();
  };
  view._sendLayoutDelta = () => {};
  const draw = view.do_update;
  view.do_update = function () {
    const message = this.model.get("_py2js_update");
    if (!this.el.nbbtUnseen || message === null) return draw.call(this);
    this.el.nbbtMissed = true;
    this._sendTraceDeltas(message.trace_edit_id);
  };
  return library;
}

export default {
  // Nothing is awaited: a host gives a model two seconds, and a slow machine may need more.
  initialize({ model }) {
    const mine = slot(model.get("key"));
    if (mine.started) return;
    mine.started = true;
    unpack(model.get("bundle")).then(quiet).then(mine.resolve, (error) => {
      mine.started = false;
      mine.reject(error);
      console.error("nbbacktest: the chart library can't be loaded", error);
    });
  },
  render() {},
};
