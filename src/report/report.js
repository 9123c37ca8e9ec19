"use strict";
// Without this script every text and curve is still there; it adds values under the pointer, and filters.
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg");
  if (!svg) continue;
  const steps = JSON.parse(chart.dataset.steps);
  const rows = [...chart.querySelectorAll("[data-values]")].map((li) => {
    const out = li.querySelector("output");
    return { values: JSON.parse(li.dataset.values), out, rest: out.textContent };
  });
  const cursor = svg.querySelector(".cursor");
  const unit = chart.querySelector("figcaption small");
  const unitText = unit.textContent;
  let at = steps.length - 1;
  const show = (index) => {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const x = steps.length < 2 ? 198 : 44 + (308 * at) / (steps.length - 1);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    unit.textContent = "step " + steps[at];
    for (const row of rows) row.out.textContent = row.values[at] ?? "–";
  };
  const rest = () => {
    cursor.setAttribute("visibility", "hidden");
    unit.textContent = unitText;
    for (const row of rows) row.out.textContent = row.rest;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 360;
    show(Math.round(((x - 44) / 308) * (steps.length - 1)));
  });
  svg.addEventListener("pointerleave", rest);
  svg.addEventListener("blur", rest);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(at));
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

const filters = document.getElementById("filters");
if (filters) {
  const samples = [...document.querySelectorAll(".sample")];
  const apply = () => {
    let shown = 0;
    for (const sample of samples) {
      const fits = (name, value) => {
        const has = sample.dataset[name];
        return !value || (name === "verdicts" ? has.split(" ").includes(value) : has === value);
      };
      sample.hidden = ![...new FormData(filters)].every(([name, value]) => fits(name, value));
      shown += !sample.hidden;
    }
    document.getElementById("shown").textContent = shown + " of " + samples.length;
  };
  filters.hidden = false;
  filters.addEventListener("change", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
