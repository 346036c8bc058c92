// Tables sort by their headings, and code can be copied. Without this script everything is still there to be read.
(() => {
  "use strict";
  const MISSING = new Set(["", "–"]);

  // The number a cell begins with: "1,234", "−0.1 to +0.2", "12.5%", "< 0.001", "0.8 ± 0.1"; null where there is none.
  const numberOf = (text) => {
    const plain = text.replaceAll("−", "-").replace(/,(?=\d{3})/g, "");
    const found = /^[<>≤≥]?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w.])/i.exec(plain);
    return found ? Number(found[1]) : null;
  };

  const sorted = (rows, column, descending) => {
    const texts = rows.map((row) => row.cells[column].textContent.trim());
    const numbers = texts.map(numberOf);
    const there = texts.map((text) => !MISSING.has(text));
    const numeric = numbers.every((number, place) => number !== null || !there[place]);
    const order = rows.map((_, place) => place);
    order.sort((one, other) => {
      if (there[one] !== there[other]) return there[one] ? -1 : 1; // what is missing comes last, either way
      if (!there[one]) return one - other;
      const apart = numeric
        ? numbers[one] - numbers[other]
        : texts[one].localeCompare(texts[other], "en", { numeric: true });
      return (descending ? -apart : apart) || one - other;
    });
    return order.map((place) => rows[place]);
  };

  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    if (original.length < 2) continue;
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        body.append(...(next === "none" ? original : sorted(original, column, next === "descending")));
      });
    });
  }

  for (const code of document.querySelectorAll("pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const text = code.querySelector("code");
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text); // where the clipboard is closed to pages: one key away
        button.textContent = "Selected";
      }
    });
    const frame = document.createElement("div");
    frame.className = "code";
    code.replaceWith(frame);
    frame.append(code, button);
  }
})();
