// Draws the chart that stands as JSON in the page, in the colours of the reader's scheme.
"use strict";

(() => {
  const source = document.getElementById("chart-data");
  const place = document.getElementById("chart");
  if (!source || !place) return;
  const chart = JSON.parse(source.textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function coloured(item) {
    if (!dark.matches) return item;
    const light = JSON.stringify(item);
    const swapped = Object.entries(chart.dark).reduce((text, [from, to]) => text.replaceAll(from, to), light);
    return JSON.parse(swapped);
  }

  async function draw() {
    for (const drawn of Bokeh.documents.slice()) drawn.clear();
    place.replaceChildren();
    await Bokeh.embed.embed_item(coloured(chart.item), place.id);
    place.dataset.drawn = dark.matches ? "dark" : "light";
  }

  draw();
  dark.addEventListener("change", draw);
})();
