(async () => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  await unpackPlotly();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
  };
  const places = [];

  async function unpackPlotly() {
    const packed = atob(document.getElementById("plotly-js").textContent);
    const bytes = Uint8Array.from(packed, (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // A layout with the page's ink, lines and font.
  function themed(layout) {
    const axis = {
      gridcolor: colour("--line"), zerolinecolor: colour("--muted"), automargin: true,
      linecolor: colour("--muted"),
    };
    const result = {
      // A finger scrolls the page.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : layout.scene ? "orbit" : "zoom",
      margin: { l: 56, r: 12, t: 24, b: 48 },
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--ink") },
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) result[key] = { ...axis, ...layout[key] };
    }
    if (layout.scene) {
      result.scene = { ...layout.scene };
      for (const key of ["xaxis", "yaxis", "zaxis"]) {
        result.scene[key] = { ...axis, automargin: undefined, ...layout.scene[key] };
      }
    }
    return result;
  }

  // Without the names of colours that differ in the dark.
  function painted(figure) {
    const text = JSON.stringify(figure).replace(/var\((--[a-z]+)\)/g, (_, name) => colour(name));
    return JSON.parse(text);
  }

  function draw(name, figure) {
    const place = document.getElementById(`plot-${name}`);
    if (!places.some((other) => other.place === place)) places.push({ place, figure });
    const drawn = painted(typeof figure === "function" ? figure() : figure);
    return Plotly.react(place, drawn.data, themed(drawn.layout), config);
  }

  function redraw() {
    for (const { place, figure } of places) draw(place.id.replace("plot-", ""), figure);
  }

  // The scatter, as its controls say.
  const form = document.getElementById("scatter-controls");
  const points = data.scatter;

  function fill(name, options, selected) {
    const select = form.elements[name];
    options.forEach((option, index) => {
      // Names are escaped for Plotly; an option takes text as it is.
      const text = new DOMParser().parseFromString(option, "text/html").body.textContent;
      select.add(new Option(text, index, false, index === selected));
    });
  }

  function scatter() {
    const three = form.elements.dimensions?.value === "3";
    const chosen = points.colours[form.elements.colour.value];
    const axes = three ? ["x", "y", "z"] : ["x", "y"];
    form.elements.z.parentElement.hidden = !three;
    const latents = axes.map((axis) => points.latents[form.elements[axis].value]);
    const all = points.text.map((_, index) => index);
    const trace = (rows, marker, more) => ({
      type: three ? "scatter3d" : "scatter",
      mode: "markers",
      hoverinfo: "text",
      text: rows.map((row) => points.text[row] + valueOf(chosen, row)),
      customdata: rows,
      marker: { size: three ? 3 : 6, line: { width: 0.4, color: "var(--muted)" }, ...marker },
      ...Object.fromEntries(axes.map((axis, n) => [axis, rows.map((row) => latents[n].values[row])])),
      ...more,
    });
    const known = all.filter((row) => chosen.values[row] !== null);
    const traces = [];
    if (known.length < all.length) {
      const rest = all.filter((row) => chosen.values[row] === null);
      traces.push(trace(rest, { color: "var(--muted)" }, { name: "unknown", showlegend: true }));
    }
    if (chosen.categories) {
      chosen.categories.forEach((category, index) => {
        const rows = known.filter((row) => chosen.values[row] === index);
        const paint = points.palette[index % points.palette.length];
        traces.push(trace(rows, { color: paint }, { name: category, showlegend: true }));
      });
    } else {
      const bar = { title: { text: chosen.name, side: "right" }, thickness: 12, outlinewidth: 0 };
      const marker = {
        color: known.map((row) => chosen.values[row]), colorscale: "Viridis", showscale: true, colorbar: bar,
      };
      traces.push(trace(known, marker, { name: chosen.name, showlegend: false }));
    }
    const titles = latents.map((latent) => ({ title: { text: `${latent.name} (prior s.d.)` } }));
    const layout = { height: 480, hovermode: "closest", legend: { orientation: "h", y: 1.02, yanchor: "bottom" } };
    if (three) {
      layout.scene = { xaxis: titles[0], yaxis: titles[1], zaxis: titles[2], camera: { eye: { x: 1.7, y: 1.7, z: 1 } } };
      layout.margin = { l: 0, r: 0, t: 24, b: 0 };
    } else {
      layout.xaxis = titles[0];
      layout.yaxis = titles[1];
    }
    return { data: traces, layout };
  }

  function valueOf(chosen, row) {
    const value = chosen.values[row];
    const shown = value === null ? "unknown" : chosen.categories ? chosen.categories[value] : value;
    return `<br>${chosen.name}: ${shown}`;
  }

  fill("colour", points.colours.map((choice) => choice.name), points.colour);
  ["x", "y", "z"].forEach((axis, index) => {
    const last = points.latents.length - 1;
    fill(axis, points.latents.map((latent) => latent.name), Math.min(index, last));
  });
  form.addEventListener("change", () => draw("scatter", scatter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;

  await Promise.all([
    draw("channels", data.channels), draw("trajectories", data.trajectories), draw("scatter", scatter),
  ]);
  document.getElementById("plot-scatter").on("plotly_click", (event) => {
    const index = event.points[0].customdata;
    document.dispatchEvent(new CustomEvent("ceneurovae:window", { detail: { index } }));
  });
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { document.documentElement.dataset.printing = ""; redraw(); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.printing; redraw(); });
  document.documentElement.dataset.ready = "true";
})();
