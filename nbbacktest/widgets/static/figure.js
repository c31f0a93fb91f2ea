// A figure that takes the chart library from the page instead of bringing five megabytes of its own.
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

export default () => {
  let figure;
  return {
    initialize({ model }) {
      figure = slot(model.get("_library")).ready.then((library) => {
        const made = library.default();
        made.initialize({ model });
        return { made, library };
      });
      figure.catch(() => {});
    },
    async render({ model, el }) {
      const { made, library } = await figure;
      const drawing = document.createElement("div");
      drawing.className = "nbbt-drawing";
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", model.get("_label"));
      el.append(drawing);
      // While the mouse drags a frame over the chart, nothing is drawn anew; five seconds at most.
      const press = () => (drawing.nbbtDraggedUntil = performance.now() + 5000);
      const release = () => (drawing.nbbtDraggedUntil = 0);
      drawing.addEventListener("pointerdown", press, true);
      for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, release, true);
      const remove = made.render({ el: drawing });
      for (const name of ["data", "layout", "_fullLayout"]) {
        Object.defineProperty(el, name, { configurable: true, get: () => drawing[name] });
      }
      // What changed while the library was loading was not heard: ask for all of it.
      model.send({ kind: "drawn" });
      let width = drawing.clientWidth;
      const resized = new ResizeObserver(() => {
        if (!drawing.isConnected || !drawing.clientWidth || drawing.clientWidth === width || !drawing._fullLayout) return;
        width = drawing.clientWidth;
        library.FigureView?.prototype?.autosizeFigure?.call({ model, el: drawing, _sendLayoutDelta() {} });
      });
      resized.observe(drawing);
      const seen = new IntersectionObserver(([entry]) => {
        drawing.nbbtUnseen = !entry.isIntersecting;
        if (entry.isIntersecting && drawing.nbbtMissed) {
          drawing.nbbtMissed = false;
          model.send({ kind: "drawn" });
        }
      });
      seen.observe(drawing);
      return () => {
        seen.disconnect();
        resized.disconnect();
        for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, release, true);
        remove?.();
      };
    },
  };
};
