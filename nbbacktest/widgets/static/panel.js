// The page's part of a panel: keys, drags of the timeline, names for screen readers, and the run and its epoch that
// the page shows.
const NAMES = {
  ".nbbt-speed .noUi-handle": "Speed, simulated seconds a second",
  ".nbbt-mode": "Mode",
  ".nbbt-progress": "Progress of the run",
  ".nbbt-timeline .noUi-handle": "Instant to look at, and to go to",
  ".nbbt-steps input": "How many instants Back and Step take",
  ".nbbt-until input": "Run until: a time, next fill, or next session",
  ".nbbt-symbol select": "Symbol of the chart",
  ".nbbt-interval select": "Interval of the chart",
};
const LOOK = 1000 / 6; // milliseconds between two reports of where the timeline is dragged to
const STILL = 250; // milliseconds after which a timeline that is held still takes the run there
const KEYS = { " ": "space", ArrowRight: "right", ArrowLeft: "left", Home: "home", End: "end", z: "undo" };
const TYPED = "input, select, textarea, button, summary, [role=slider], [contenteditable=true]";

function describe(root, model) {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const element of root.querySelectorAll(selector)) {
      if (element.getAttribute("aria-label") !== name) element.setAttribute("aria-label", name);
    }
  }
  const set = (selector, values) => {
    const element = root.querySelector(selector);
    if (element) for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  };
  set(".nbbt-mode", { role: "group" });
  set(".nbbt-state", { role: "status", "aria-live": "polite" });
  set(".nbbt-progress", {
    role: "progressbar", "aria-valuemin": 0,
    "aria-valuemax": model.get("total"), "aria-valuenow": model.get("cursor"),
  });
  for (const button of root.querySelectorAll(".nbbt-mode button, .nbbt-follow")) {
    button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
  }
}

// The charts wait for the answer to a command, see figure.js; a quarter of a second at most.
function hurry() {
  globalThis.nbbtAnswerBy = performance.now() + 250;
}

function answered() {
  requestAnimationFrame(() => setTimeout(() => (globalThis.nbbtAnswerBy = 0)));
}

function attach(root, model) {
  const shown = () => ({ run: model.get("run"), epoch: model.get("epoch") });
  const tell = () => {
    const { run, epoch } = shown();
    if (String(model.get("seen")) !== String([run, epoch])) model.send({ kind: "seen", run, epoch });
  };
  const key = (event) => {
    if (event.target.closest(TYPED) || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = KEYS[event.key];
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    if (name === "space") hurry();
    if (!(event.repeat && name === "space")) model.send({ kind: "key", key: name, ...shown() });
  };
  // While the timeline is dragged, its instant is sent six times a second, and once more if it is held still. The slider itself
  // sends the one at which it is let go.
  const drag = { on: false, sent: -Infinity };
  const read = () => (drag.at = Math.round(root.querySelector(".nbbt-timeline .noUi-handle")?.getAttribute("aria-valuenow")));
  const look = (rests) => {
    drag.later = undefined;
    if (drag.on && Number.isInteger(drag.at)) report(rests, true);
  };
  // While the slider is held, the kernel leaves it alone.
  const report = (rests, held) => {
    drag.sent = performance.now();
    model.send({ kind: "look", at: drag.at, rests, held, ...shown() });
  };
  const grab = (event) => Object.assign(drag, { on: Boolean(event.target.closest?.(".nbbt-timeline")), at: undefined });
  const moved = () => {
    if (!drag.on) return;
    // Later than the slider's own listener, which moves the handle, and before the kernel can move it.
    setTimeout(read);
    clearTimeout(drag.still);
    drag.still = setTimeout(look, STILL, true);
    drag.later ??= setTimeout(look, drag.sent + LOOK - performance.now(), false);
  };
  const letGo = () => {
    if (drag.on && Number.isInteger(drag.at)) setTimeout(report, 0, true, false);
    drag.on = false;
  };
  const clicked = (event) => {
    if (event.target.closest(".nbbt-buttons button:not(.nbbt-step, .nbbt-back), .nbbt-goal button")) hurry();
    if (event.target.closest(".nbbt-follow")) {
      for (const chart of root.querySelectorAll(".nbbt-drawing")) chart.nbbtZoomed = -Infinity;
    }
  };
  root.addEventListener("click", clicked, true);
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Backtest control panel. Space pauses and resumes, the arrows step and go back.");
  root.dataset.lmSuppressShortcuts = "true"; // switches JupyterLab's own keys off while the panel has the focus
  for (const name of ["pointerdown", "click", "change", "keydown"]) root.addEventListener(name, tell, true);
  root.addEventListener("keydown", key);
  root.addEventListener("pointerdown", grab, true);
  window.addEventListener("pointermove", moved, true);
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, letGo, true);
  const named = () => describe(root, model);
  const changes = new MutationObserver(named);
  const controls = root.querySelector(".nbbt-controls") ?? root;
  changes.observe(controls, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  const answers = new MutationObserver(answered);
  for (const place of controls.querySelectorAll(".nbbt-state, .nbbt-notices")) {
    answers.observe(place, { childList: true, subtree: true, characterData: true });
  }
  model.on("change:cursor", named);
  named();
  return () => {
    changes.disconnect();
    answers.disconnect();
    root.removeEventListener("click", clicked, true);
    for (const name of ["pointerdown", "click", "change", "keydown"]) root.removeEventListener(name, tell, true);
    root.removeEventListener("keydown", key);
    root.removeEventListener("pointerdown", grab, true);
    window.removeEventListener("pointermove", moved, true);
    for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, letGo, true);
  };
}

export default {
  initialize({ model }) {
    reach(model).catch(() => {});
  },
  render({ model, el }) {
    let detach;
    let tries = 0;
    const find = () => {
      const root = el.closest(".nbbt-panel");
      if (root) detach = attach(root, model);
      else if (tries++ < 100) setTimeout(find, 50); // the host puts views into the page after they are made
    };
    find();
    return () => detach?.();
  },
};
