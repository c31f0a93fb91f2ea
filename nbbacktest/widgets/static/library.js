// Unpacks the chart library once for a page, however many figures there are, and hands it to all of them.
// The key names its version: panels of two kernels with two versions may share a page.
const libraries = (globalThis.nbbtPlotly ??= new Map());

function slot(key) {
  if (!libraries.has(key)) {
    const made = {};
    made.offered = new Promise((resolve) => (made.offer = resolve));
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
    const { FigureView } = await import(url);
    return { FigureView, Plotly: globalThis.Plotly }; // the bundle exports its widget alone, and puts plotly.js there
  } finally {
    URL.revokeObjectURL(url);
  }
}

export default {
  // Unpacked at first use: it keeps a page busy for seconds, in which the host gives up models that are being made.
  initialize({ model }) {
    let library;
    slot(model.get("key")).offer(() => (library ??= unpack(model.get("bundle")).catch((error) => {
      library = undefined;
      console.error("nbbacktest: the chart library can't be loaded", error);
      throw error;
    })));
  },
  render() {},
};
