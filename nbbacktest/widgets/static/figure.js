// A figure that takes the chart library from the page; plotly's own figure brings five megabytes each. The page keeps the
// properties that the kernel sent, also before anything is drawn; each view draws all of them. A message names the version
// that it changes. If the page has another version, an earlier message was lost, and this one isn't applied.
const libraries = (globalThis.nbbtPlotly ??= new Map());
const COLUMNS = { float64: Float64Array, float32: Float32Array, int32: Int32Array, uint32: Uint32Array, int16: Int16Array,
  uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array };
const AGAIN = 1000; // milliseconds between two reports of the version to the kernel
const QUIET = 1000; // milliseconds without a message after which charts out of sight are drawn too
const HELD = 2000; // milliseconds for which the user's zoom stays until the kernel has received it

function slot(key) {
  if (!libraries.has(key)) {
    const made = {};
    made.offered = new Promise((resolve) => (made.offer = resolve));
    libraries.set(key, made);
  }
  return libraries.get(key);
}

// Decodes a message of the kernel: columns are sent as bytes.
function received(value) {
  if (value === "_undefined_") return undefined;
  if (Array.isArray(value)) return value.map(received);
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  if ("dtype" in value && "shape" in value) {
    const bytes = value.buffer ?? value.value;
    return new COLUMNS[value.dtype](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, received(one)]));
}

// A copy, because plotly.js writes into its arguments, but not into columns.
function copied(value) {
  if (Array.isArray(value)) return value.map(copied);
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, copied(one)]));
}

// Sets a property by its path, such as xaxis.range; null removes it.
function put(target, path, value) {
  const steps = path.split(".");
  const last = steps.pop();
  for (const step of steps) target = target[step] ??= {};
  if (value === null) delete target[last];
  else target[last] = value;
}

// The properties of one figure, as the kernel sent them.
class Said {
  constructor(model) {
    this.model = model;
    this.views = new Set();
    this.asked = -Infinity;
    this.begin();
    this.take();
    model.on("change:_version", () => this.begin());
    model.on("change:_py2js_update", () => this.take());
  }

  begin() {
    this.data = received(this.model.get("_widget_data") ?? []);
    this.layout = received(this.model.get("_widget_layout") ?? {});
    this.version = this.model.get("_version");
    this.show();
  }

  take() {
    const message = received(this.model.get("_py2js_update"));
    if (!message) return;
    if (message.base === null) {
      this.data = message.style_traces.map(() => ({}));
      this.layout = {};
    } else if (message.base !== this.version) {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.report(), this.asked + AGAIN - performance.now());
      return;
    }
    for (const [path, given] of Object.entries(message.style_data)) {
      const values = Array.isArray(given) ? given : [given];
      message.style_traces.forEach((trace, n) => {
        const value = values[n % values.length];
        if (value !== undefined) put(this.data[trace], path, value);
      });
    }
    for (const [path, value] of Object.entries(message.layout_data)) put(this.layout, path, value);
    this.version = message.trace_edit_id;
    this.show();
  }

  // Reports the page's version to the kernel, which sends the whole figure if its own is another.
  report() {
    this.asked = performance.now();
    this.model.send({ kind: "drawn", version: this.version });
  }

  show() {
    for (const view of this.views) view.show();
  }
}

class View {
  constructor(said, el, { Plotly, FigureView }) {
    Object.assign(this, { said, el, Plotly, version: null, seen: true, waits: false, listens: false });
    // Reports the user's zooms to the kernel; it draws nothing.
    this.user = new FigureView({ set: (...one) => said.model.set(...one), save_changes: () => said.model.save_changes() }, el);
    this.user.viewID = "a page";
  }

  show() {
    if (!this.seen) {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.draw(), QUIET);
      this.acknowledge(this.said.version);
    } else if (!this.waits) {
      this.waits = true;
      this.inTurn();
    }
  }

  // Drawing waits for the answer to a click, which takes less time. It waits for the end of a drag, which it would break off.
  inTurn() {
    const patience = Math.max(globalThis.nbbtAnswerBy ?? 0, this.el.nbbtDraggedUntil ?? 0) - performance.now();
    this.waits = patience > 0;
    if (this.waits) setTimeout(() => this.inTurn(), 10);
    else this.draw();
  }

  async draw() {
    const { data, layout, version, model } = this.said;
    if (version === this.version || this.removed) return;
    this.version = version;
    const config = { ...model.get("_config"), editSelection: false };
    try {
      const done = this.Plotly.react(this.el, copied(data), this.zoomed(copied(layout)), config);
      if (!this.listens) this.listen();
      await done;
    } catch (error) {
      console.error("nbbacktest: a chart can't be drawn", error);
    }
    this.acknowledge(version);
  }

  acknowledge(version) {
    const { model } = this.said;
    if (!model.get("_acknowledges")) return;
    model.set("_js2py_traceDeltas", { trace_deltas: [], trace_edit_id: version });
    model.save_changes();
  }

  // The user's zoom stays: a frame that was made before the kernel received it doesn't undo it.
  zoomed(layout) {
    const axis = this.el.layout?.xaxis;
    if (axis?.range && performance.now() - (this.el.nbbtZoomed ?? -Infinity) < HELD) {
      layout.xaxis = { ...layout.xaxis, range: [...axis.range], autorange: axis.autorange ?? false };
    }
    return layout;
  }

  listen() {
    this.listens = true;
    for (const name of ["restyle", "update", "click", "hover", "unhover", "selected", "deselect"]) {
      this.el.on(`plotly_${name}`, (event) => this.user[`handle_plotly_${name}`](event));
    }
    this.el.on("plotly_relayout", (changes) => {
      if (changes.autosize) return; // by the page, not by the user
      if (Object.keys(changes).some((name) => name.startsWith("xaxis."))) this.el.nbbtZoomed = performance.now();
      this.user.handle_plotly_relayout(changes);
    });
  }

  resize() {
    if (!this.said.layout.width) Promise.resolve(this.Plotly.Plots.resize(this.el)).catch(() => {});
  }

  remove() {
    this.removed = true;
    this.said.views.delete(this);
    this.Plotly.purge(this.el);
  }
}

export default () => {
  let said;
  return {
    initialize({ model }) {
      said = new Said(model);
      reach(model).catch(() => {});
    },
    async render({ model, el, signal }) {
      const library = await (await slot(model.get("_library")).offered)();
      if (signal?.aborted) return;
      const drawing = document.createElement("div");
      drawing.className = "nbbt-drawing";
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", model.get("_label"));
      el.append(drawing);
      // While the mouse drags a frame over the chart, nothing is drawn, for five seconds at most.
      const press = () => (drawing.nbbtDraggedUntil = performance.now() + 5000);
      const release = () => (drawing.nbbtDraggedUntil = 0);
      drawing.addEventListener("pointerdown", press, true);
      for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, release, true);
      const view = new View(said, drawing, library);
      said.views.add(view);
      view.draw();
      for (const name of ["data", "layout", "_fullLayout"]) {
        Object.defineProperty(el, name, { configurable: true, get: () => drawing[name] });
      }
      said.report();
      let width = drawing.clientWidth;
      const resized = new ResizeObserver(() => {
        if (!drawing.isConnected || !drawing.clientWidth || drawing.clientWidth === width || !drawing._fullLayout) return;
        width = drawing.clientWidth;
        view.resize();
      });
      resized.observe(drawing);
      const sight = new IntersectionObserver((entries) => {
        const was = view.seen;
        view.seen = entries.at(-1).isIntersecting;
        if (!view.seen || was) return;
        if (view.version !== said.version) view.show();
        said.report();
      });
      sight.observe(drawing);
      return () => {
        sight.disconnect();
        resized.disconnect();
        for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, release, true);
        view.remove();
      };
    },
  };
};
