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
    if (message === null) return;
    if (this.el.nbbtUnseen) {
      this.el.nbbtMissed = true;
      this._sendTraceDeltas(message.trace_edit_id);
      return;
    }
    inTurn(this.el, () => draw.call(Object.create(this, { model: { value: saying(this.model, heard(this.el, message)) } })));
  };
  const relaid = view.handle_plotly_relayout;
  view.handle_plotly_relayout = function (changes) {
    if (changes && !("_doNotReportToPy" in changes)) this.el.nbbtZoomed = performance.now();
    return relaid.call(this, changes);
  };
  return library;
}

// Draws now, or in its turn: a picture takes longer than the answer to a click that it would keep waiting, and one that
// comes while the mouse drags a frame over the chart would end the drag.
function inTurn(el, draw) {
  const waiting = (el.nbbtWaiting ??= []);
  const patience = () => Math.max(globalThis.nbbtAnswerBy ?? 0, el.nbbtDraggedUntil ?? 0) - performance.now();
  if (!waiting.length && patience() <= 0) return draw();
  if (waiting.push(draw) > 1) return;
  const next = () => {
    if (patience() > 0) return setTimeout(next, 10);
    for (const one of waiting.splice(0)) one();
  };
  setTimeout(next, 10);
}

// The user's zoom stays: a frame that was made before the kernel heard of it doesn't undo it, and one that says nothing of
// the range means the one that is shown (plotly.js would forget it, as each message tells it the axis's type again).
function heard(el, message) {
  const layout = { ...message.layout_data };
  if (performance.now() - (el.nbbtZoomed ?? -Infinity) < 2000) delete layout["xaxis.range"];
  const axis = el.layout?.xaxis;
  if (axis?.range && !axis.autorange && !("xaxis.range" in layout)) layout["xaxis.range"] = [...axis.range];
  return { ...message, layout_data: layout };
}

// The model with this message, which need not be the newest any more.
function saying(model, message) {
  return Object.create(model, { get: { value: (name) => (name === "_py2js_update" ? message : model.get(name)) } });
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
