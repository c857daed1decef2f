"use strict";
// Tables are complete without this: it adds sorting by a heading, and a filter for long ones.
function amount(text) {
  const units = { B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824 };
  const found = /^[+−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?/i.exec(text.trim());
  if (!found) return null;
  const unit = /[\d\s](B|KiB|MiB|GiB)\b/.exec(text);
  return parseFloat(found[0].replace(/,/g, "").replace("−", "-")) * (unit ? units[unit[1]] : 1);
}
for (const holder of document.querySelectorAll(".table")) {
  const table = holder.querySelector("table"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const fixed = [...body.rows].filter((row) => row.classList.contains("bold") && row.cells[0].textContent === "total");
  heads.forEach((head, column) => {
    if (!head.textContent || body.rows.length < 3) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].filter((row) => !fixed.includes(row));
      const keys = new Map(rows.map((row) => [row, row.cells[column].textContent]));
      rows.sort((one, other) => {
        const a = amount(keys.get(one)), b = amount(keys.get(other));
        const order = a !== null && b !== null ? a - b : a !== null ? -1 : b !== null ? 1 : keys.get(one).localeCompare(keys.get(other));
        return up ? order : -order;
      });
      body.append(...rows, ...fixed);
    });
  });
  if (body.rows.length > 8) {
    const label = document.createElement("label"), input = document.createElement("input"), told = document.createElement("span");
    label.className = "filter";
    label.textContent = "Filter the rows";
    input.type = "search";
    told.className = "dim";
    told.setAttribute("role", "status");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase();
      let shown = 0;
      for (const row of body.rows) {
        const hidden = !fixed.includes(row) && !row.textContent.toLowerCase().includes(words);
        row.hidden = hidden;
        if (!hidden && !fixed.includes(row)) shown += 1;
      }
      told.textContent = words ? ` ${shown} of ${body.rows.length - fixed.length} rows` : "";
    });
    label.append(input, told);
    holder.prepend(label);
  }
}
