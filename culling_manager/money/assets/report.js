"use strict";
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
(async () => {
  // The charts' library lies in the page, packed; without it the tables say all the same.
  const packed = document.getElementById("library").textContent.trim();
  if (!packed) {
    for (const place of document.querySelectorAll(".chart")) place.remove();
    return;
  }
  const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).text();
  new Function(code).call(window);
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = {
    font: "system-ui, 'DejaVu Sans', sans-serif",
    view: { stroke: null },
    axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", gridColor: "#e6eaee", domainColor: "#b7c0c9" },
    legend: { labelFontSize: 12, orient: "top" },
  };
  const drawn = [];
  for (const place of document.querySelectorAll(".chart")) {
    const spec = {
      width: Math.max(220, place.clientWidth), height: 220, autosize: { type: "fit", contains: "padding" },
      background: "transparent", config, ...charts[place.id],
    };
    const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "svg", container: place, hover: true });
    drawn.push([view, place, place.clientWidth]);
    await view.runAsync();
    place.setAttribute("role", "img");
  }
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const each of drawn) {
        if (each[1].clientWidth !== each[2]) {
          each[2] = each[1].clientWidth;
          each[0].width(Math.max(220, each[2])).runAsync();
        }
      }
    }, 150);
  });
  document.documentElement.dataset.drawn = String(drawn.length);
})().catch((error) => {
  for (const place of document.querySelectorAll(".chart")) place.textContent = "This chart cannot be drawn here: " + error.message;
});
