"use strict";
// Draws every plot of the page, in the colours of the style sheet, again when those change.
(function () {
  const root = document.documentElement;
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const plots = Array.from(document.querySelectorAll("[data-figure]"));

  function themed(value, colours) {
    if (Array.isArray(value)) return value.map((item) => themed(item, colours));
    if (value === null || typeof value !== "object") return value;
    const copy = {};
    for (const [key, item] of Object.entries(value)) {
      const named = /color$/.test(key) && typeof item === "string" && item.startsWith("@");
      copy[key] = named ? colours.getPropertyValue("--" + item.slice(1)).trim() : themed(item, colours);
    }
    return copy;
  }

  function draw() {
    const colours = window.getComputedStyle(root);
    for (const plot of plots) {
      const source = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
      const figure = themed(source, colours);
      // On a touch screen a finger scrolls the page; zooming by dragging would hold it.
      figure.layout.dragmode = touch ? false : "zoom";
      if (plot.clientWidth < 520) narrow(figure);
      Plotly.react(plot, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    }
  }

  function narrow(figure) {
    figure.layout.margin = Object.assign({}, figure.layout.margin, { l: 44, r: 6 });
    for (const [key, axis] of Object.entries(figure.layout)) {
      if (key.startsWith("xaxis")) axis.nticks = 5;
    }
  }

  function paper(on) {
    if (on) root.setAttribute("data-paper", "");
    else root.removeAttribute("data-paper");
    draw();
  }

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  draw();
})();
