(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  root.classList.add("js");

  // Light, dark, or what the system says. Storage can be forbidden for files opened from disk.
  const remember = (value) => { try { localStorage.setItem("emotion-theme", value); } catch { /* not kept */ } };
  const recall = () => { try { return localStorage.getItem("emotion-theme"); } catch { return null; } };
  const toggle = document.getElementById("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
  const label = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
  if (["light", "dark"].includes(recall())) root.dataset.theme = recall();
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    label();
  });
  systemDark.addEventListener("change", label);
  label();

  // Tables sort by a click on a heading, which is a button. Empty values stay last in both directions.
  const status = document.getElementById("status");
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sortValue = (cell) => {
    const text = cell.dataset.sort ?? cell.textContent.trim();
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  };
  for (const table of all("table.sortable")) {
    all("thead th button", table).forEach((button) => {
      const heading = button.closest("th");
      button.addEventListener("click", () => {
        const column = heading.cellIndex;
        const before = heading.getAttribute("aria-sort");
        const first = heading.dataset.first === "descending" ? "descending" : "ascending";
        const direction = before === "none" ? first : before === "ascending" ? "descending" : "ascending";
        all("thead th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
        heading.setAttribute("aria-sort", direction);
        const body = table.tBodies[0];
        const rows = Array.from(body.rows).map((row, index) => ({ row, index, value: sortValue(row.cells[column]) }));
        rows.sort((a, b) => {
          if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.index - b.index;
          const order = compare(a.value, b.value) || a.index - b.index;
          return direction === "ascending" ? order : -order;
        });
        body.append(...rows.map((item) => item.row));
        status.textContent = `Sorted by ${button.textContent.trim()}, ${direction}`;
      });
    });
  }

  // One tooltip for everything that carries data-tip: pointer, or focus and arrow keys inside a chart.
  const tip = document.getElementById("tip");
  const fill = (text) => {
    const [title, ...lines] = text.split("\n");
    tip.replaceChildren();
    const head = document.createElement("strong");
    head.textContent = title;
    tip.append(head);
    if (lines.length) {
      const list = document.createElement("dl");
      for (const line of lines) {
        const [name, value] = line.split("\t");
        const dt = document.createElement("dt");
        const dd = document.createElement("dd");
        dt.textContent = name;
        dd.textContent = value ?? "";
        list.append(dt, dd);
      }
      tip.append(list);
    }
  };
  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), root.clientWidth - box.width - 8);
    const above = y - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 8 ? y + 18 : above}px`;
  };
  let shown = null;
  let byKey = false;
  const hide = () => {
    tip.hidden = true;
    shown?.classList.remove("on");
    shown = null;
  };
  const show = (element, x, y) => {
    byKey = x === undefined;
    if (element !== shown) {
      hide();
      shown = element;
      element.classList.add("on");
      fill(element.dataset.tip);
      tip.hidden = false;
    }
    if (x === undefined) {
      const box = element.getBoundingClientRect();
      x = box.left + box.width / 2;
      y = Math.max(60, box.top);
    }
    place(x, y);
  };
  document.addEventListener("pointermove", (event) => {
    const element = event.target.closest?.("[data-tip]");
    if (element) show(element, event.clientX, event.clientY);
    else if (shown && !shown.closest(":focus")) hide();
  });
  document.addEventListener("scroll", () => { if (shown && byKey) show(shown); else hide(); }, { passive: true });
  for (const chart of all("svg.chart")) {
    const hits = all(".hit", chart);
    let at = -1;
    const go = (index) => {
      at = Math.min(Math.max(0, index), hits.length - 1);
      show(hits[at]);
      status.textContent = hits[at].dataset.tip.replaceAll("\t", " ").replaceAll("\n", ", ");
    };
    chart.addEventListener("keydown", (event) => {
      if (!hits.length) return;
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: hits.length - 1 };
      if (event.key in steps) {
        event.preventDefault();
        go(steps[event.key]);
      } else if (event.key === "Escape") hide();
    });
    chart.addEventListener("blur", () => { at = -1; hide(); });
  }

  // Two runs' confusions, subtracted in the page: the counts of every run are in it anyway.
  for (const block of all(".difference")) {
    const runs = JSON.parse(block.querySelector("script").textContent);
    const [first, second] = all("select", block);
    const rows = all("tbody tr", block);
    const words = block.querySelector("output");
    const share = (counts, row, column) => {
      const total = counts[row].reduce((sum, value) => sum + value, 0);
      return total ? counts[row][column] / total : null;
    };
    const accuracy = (counts) => counts.reduce((sum, row, k) => sum + row[k], 0) / counts.flat().reduce((a, b) => a + b, 0);
    const signed = (value) => (Math.abs(value) < 0.05 ? "0.0" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(1));
    const draw = () => {
      const a = runs[first.value];
      const b = runs[second.value];
      rows.forEach((row, i) => all("td", row).forEach((cell, j) => {
        const one = share(a.counts, i, j);
        const two = share(b.counts, i, j);
        cell.replaceChildren();
        if (one === null || two === null) {
          cell.textContent = "—";
          cell.style.setProperty("--a", 0);
          return;
        }
        const points = 100 * (one - two);
        cell.textContent = signed(points);
        cell.className = (i === j) === points > 0 ? "better" : "worse";
        cell.style.setProperty("--a", Math.min(1, Math.abs(points) / 20).toFixed(3));
        cell.dataset.tip = `${block.dataset.classes.split("\t")[i]} taken for ${block.dataset.classes.split("\t")[j]}\n` +
          `${a.name}\t${a.counts[i][j]} (${(100 * one).toFixed(1)} %)\n${b.name}\t${b.counts[i][j]} (${(100 * two).toFixed(1)} %)`;
      }));
      const overall = 100 * (accuracy(a.counts) - accuracy(b.counts));
      words.textContent = first.value === second.value
        ? "Choose two different rows."
        : `${a.name} minus ${b.name}: accuracy ${signed(overall)} points.`;
    };
    first.addEventListener("change", draw);
    second.addEventListener("change", draw);
    draw();
  }

  // Only a table that is wider than the page is a stop for the keyboard.
  const stops = () => all(".scroll").forEach((box) => { box.tabIndex = box.scrollWidth > box.clientWidth + 1 ? 0 : -1; });
  addEventListener("resize", stops);
  all("details").forEach((details) => details.addEventListener("toggle", stops));
  stops();

  // A link to something folded away opens it.
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", unfold);
  unfold();

  // What is folded away is still printed.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));
})();
