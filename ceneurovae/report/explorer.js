// The latent explorer: sliders, panels of channels, and what they show. Data from explorer.py.
(function () {
  "use strict";

  const began = performance.now();
  const root = document.currentScript.closest(".explorer");
  const data = JSON.parse(root.querySelector(".explorer-data").textContent);
  const WIDTH = 1000;
  const HEIGHT = 100;
  // Of a slider, from its middle to either side.
  const STEPS = 60;

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function shape(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // Three significant digits, with an exponent where they would be far from the point.
  function written(value) {
    const size = Math.abs(value);
    const text = size && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : value.toPrecision(3);
    return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
  }

  async function unpack(text) {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Whole numbers of three bytes each: all low bytes, then all middle, then all high ones.
  function fromInt24(bytes) {
    const count = bytes.length / 3;
    const integers = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      const [low, middle, high] = [bytes[i], bytes[count + i], bytes[2 * count + i]];
      integers[i] = ((high << 24) | (middle << 16) | (low << 8)) >> 8;
    }
    return integers;
  }

  // Windows of one channel: a function from the index of a window to its samples.
  async function unpackWindows({ low, step, bytes }) {
    const steps = await unpack(bytes);
    return (index) => {
      const window = steps.subarray(index * data.steps, (index + 1) * data.steps);
      return Float32Array.from(window, (value) => (value === 255 ? NaN : low + step * value));
    };
  }

  // Channel -> kind -> windows.
  async function unpackStored() {
    const unpacked = Object.entries(data.stored).map(async ([channel, kinds]) => {
      const windows = Object.entries(kinds).map(async ([kind, packed]) => [kind, await unpackWindows(packed)]);
      return [channel, Object.fromEntries(await Promise.all(windows))];
    });
    return Object.fromEntries(await Promise.all(unpacked));
  }

  // What is on show: latents, the window that was loaded if any, and the slider moved since.
  const state = { z: Float32Array.from(data.mean), index: null, moved: null };

  async function start() {
    const mu = new Float32Array((await unpack(data.mu)).buffer);
    const latents = data.mean.length;
    const count = mu.length / latents;
    const stored = await unpackStored();
    const weights = data.weights && fromInt24(await unpack(data.weights));
    const decode = weights ? window.ceneurovae.makeDecoder(data.program, weights) : null;

    function decodedNow() {
      const decoded = decode(state.z);
      const channels = data.channels.length;
      return (channel) => Float32Array.from({ length: data.steps }, (_, t) => decoded[t * channels + channel]);
    }

    function storedNow() {
      if (state.index !== null) return (channel) => stored[channel].decoded(state.index);
      const values = data.gridValues;
      if (state.moved === null) return (channel) => stored[channel].grid((values - 1) / 2);
      const { latent, reach } = data.sliders[state.moved];
      const steps = ((state.z[latent] - data.mean[latent]) / reach + 1) * (values - 1) / 2;
      return (channel) => stored[channel].grid(state.moved * values + Math.round(steps));
    }

    function observedNow(channel) {
      const kinds = stored[channel];
      return state.index === null || !kinds || !kinds.observed ? null : kinds.observed(state.index);
    }

    const panels = makePanels();
    let asked = false;
    function draw() {
      asked = false;
      const samples = decode ? decodedNow() : storedNow();
      for (const panel of panels.shown()) panel.draw(samples(panel.channel), observedNow(panel.channel));
    }
    function drawSoon() {
      if (!asked) requestAnimationFrame(draw);
      asked = true;
    }

    function slid(slider, value) {
      const { latent } = data.sliders[slider];
      if (!decode) {
        state.z.set(data.mean);
        state.index = null;
      }
      state.moved = slider;
      state.z[latent] = value;
      controls.show();
      drawSoon();
    }

    function reset() {
      state.z.set(data.mean);
      state.index = state.moved = null;
      controls.show();
      drawSoon();
    }

    function load(index) {
      if (!Number.isInteger(index) || index < 0 || index >= count) return;
      state.z.set(mu.subarray(index * latents, (index + 1) * latents));
      state.index = index;
      state.moved = null;
      controls.show();
      drawSoon();
    }

    const controls = makeControls({ count, slid, reset, load, panels, drawSoon, grid: !decode });
    document.addEventListener("ceneurovae:window", (event) => load(event.detail.index));
    controls.show();
    root.querySelector(".explorer-body").hidden = false;
    draw();
    Object.assign(window.ceneurovae, { decode, startMs: performance.now() - began });
  }

  function makePanels() {
    const container = root.querySelector(".explorer-panels");
    const made = new Map();
    let channels = data.shown;

    function show(chosen) {
      channels = chosen;
      for (const channel of channels) if (!made.has(channel)) made.set(channel, makePanel(channel));
      container.replaceChildren(...channels.map((channel) => made.get(channel).figure));
      container.classList.toggle("few", channels.length <= 3);
    }

    show(channels);
    return { show, shown: () => channels.map((channel) => made.get(channel)) };
  }

  function makePanel(channel) {
    const observedPath = shape("path", { class: "observed" });
    const path = shape("path", { class: "reconstruction" });
    const svg = shape(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      observedPath,
      path,
    );
    const top = element("span");
    const bottom = element("span");
    const end = data.rate ? `${written(data.steps / data.rate)} s` : `${data.steps} samples`;
    const figure = element(
      "figure",
      { className: "explorer-panel" },
      element("figcaption", { textContent: data.channels[channel] }),
      element("div", { className: "explorer-scale" }, top, bottom),
      svg,
      element("div", { className: "explorer-axis" }, element("span", { textContent: "0" }), element("span", { textContent: end })),
    );

    // The axis holds what the decoder makes of all windows, and more where that is drawn.
    function draw(samples, observed) {
      const drawn = [...samples, ...(observed || [])].filter(Number.isFinite);
      let [low, high] = data.ranges[channel];
      for (const value of drawn) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      if (high - low <= 1e-6 * Math.abs(high)) [low, high] = [low - 0.5, high + 0.5];
      path.setAttribute("d", line(samples, low, high));
      observedPath.setAttribute("d", observed ? line(observed, low, high) : "");
      Object.assign(figure.dataset, { channel, low, high });
      top.textContent = written(high);
      bottom.textContent = written(low);
    }
    return { channel, figure, draw };
  }

  // A path through the middles of the samples, interrupted where they are missing.
  function line(samples, low, high) {
    let path = "";
    let joined = false;
    samples.forEach((value, t) => {
      if (Number.isFinite(value)) {
        const x = ((t + 0.5) * WIDTH) / samples.length;
        const y = (HEIGHT * (high - value)) / (high - low);
        path += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(2)}`;
      }
      joined = Number.isFinite(value);
    });
    return path;
  }

  function makeControls({ count, slid, reset, load, panels, drawSoon, grid }) {
    const form = root.querySelector(".explorer-controls");
    const status = root.querySelector(".explorer-status");
    form.addEventListener("submit", (event) => event.preventDefault());

    const sliders = data.sliders.map(({ latent, reach, kl }, i) => {
      const id = `explorer-latent-${latent}`;
      const mean = data.mean[latent];
      const half = grid ? (data.gridValues - 1) / 2 : STEPS; // whole numbers are exact
      const input = element("input", { type: "range", id, min: -half, max: half });
      const output = element("output", { htmlFor: id });
      input.addEventListener("input", () => slid(i, mean + (reach * input.value) / half));
      const label = element("label", { htmlFor: id }, `Latent ${latent} `, element("small", { textContent: `KL ${written(kl)} nats` }));
      form.append(element("div", { className: "explorer-slider" }, label, output, input));
      return () => {
        input.value = Math.round((half * (state.z[latent] - mean)) / reach);
        output.textContent = state.z[latent].toFixed(2);
        input.setAttribute("aria-valuetext", output.textContent);
      };
    });

    const number = element("input", { type: "number", min: 1, max: count, id: "explorer-window" });
    number.addEventListener("change", () => load(number.valueAsNumber - 1));
    const button = element("button", { type: "button", textContent: "Reset" });
    button.addEventListener("click", reset);
    const label = element("label", { htmlFor: number.id, textContent: "Window" });
    form.append(element("div", { className: "explorer-row" }, label, number, `of ${count}`, button));
    if (choosable().length > 12) form.append(makePicker(panels, drawSoon));

    function show() {
      sliders.forEach((update) => update());
      number.value = state.index === null ? "" : state.index + 1;
      const words = said();
      if (status.dataset.said === words) return; // to be read out once
      status.dataset.said = words;
      status.replaceChildren(...withKeys(words));
    }
    return { show };
  }

  const choosable = () => data.channels.map((_, n) => n).filter((n) => data.program || data.stored[n]);

  function said() {
    if (state.index === null) return state.moved === null ? "decoded from the mean of the latents" : "decoded";
    const name = data.names ? data.names[state.index] : `window ${state.index + 1}`;
    return `decoded, ${name}${state.moved === null ? "" : ", latents moved"}`;
  }

  function withKeys(words) {
    const key = (name) => element("span", { className: `explorer-key ${name}` });
    const observed = Object.values(data.stored).some((kinds) => kinds.observed);
    return [key(""), words, ...(observed && state.index !== null ? [key("observed"), "observed"] : [])];
  }

  function makePicker(panels, drawSoon) {
    const boxes = choosable().map((channel) =>
      element("input", { type: "checkbox", value: channel, checked: data.shown.includes(channel) }),
    );
    const summary = element("summary");
    function chosen() {
      const channels = boxes.filter((box) => box.checked).map((box) => Number(box.value));
      summary.textContent = `Channels: ${channels.length} of ${boxes.length}`;
      return channels;
    }
    const labels = boxes.map((box) => element("label", {}, box, ` ${data.channels[box.value]}`));
    const picker = element("details", { className: "explorer-picker" }, summary, element("div", {}, ...labels));
    picker.addEventListener("change", () => {
      panels.show(chosen());
      drawSoon();
    });
    chosen();
    return picker;
  }

  window.ceneurovae.ready = start();
  window.ceneurovae.ready.catch((error) => {
    root.append(element("p", { textContent: `The explorer could not start: ${error.message}` }));
  });
})();
