"use strict";

/* The page around pooling.js: reads the controls, draws both grids, and slides the window. */
(() => {
  const root = document.getElementById("window-explorer");
  const field = (name) => root.querySelector(`[name=${name}]`);
  const part = (name) => root.querySelector(`.${name}`);
  let chosen = [0, 0];
  let timer = null;
  let seed = 1;

  for (const name of Object.keys(POOLS)) field("pool").append(new Option(name, name));

  /** Ints from 0 to 9 that are the same for each seed. */
  function numbers(rows, columns) {
    let state = seed;
    const next = () => (state = (state * 48271) % 2147483647) % 10;
    return Array.from({ length: rows }, () => Array.from({ length: columns }, next));
  }

  function settings() {
    const pair = (name) => [0, 1].map((a) => Number(field(`${name}${a}`).value));
    const kind = field("padding").value;
    return {
      pool: field("pool").value,
      size: pair("size"),
      window: pair("window"),
      stride: pair("stride"),
      dilation: pair("dilation"),
      padding: kind === "number" ? pair("pad") : kind,
      ceilMode: field("ceil").checked,
    };
  }

  const shown = (value) => String(Math.round(value * 100) / 100);

  /** A table of cells, each with a class and a text. */
  function draw(place, rows) {
    const table = document.createElement("table");
    for (const cells of rows) {
      const row = table.insertRow();
      for (const { text, kind, pressed } of cells) {
        const cell = row.insertCell();
        cell.textContent = text;
        cell.className = kind;
        if (pressed) {
          cell.tabIndex = 0;
          cell.addEventListener("click", pressed);
          cell.addEventListener("focus", pressed);
        }
      }
    }
    part(place).replaceChildren(table);
  }

  function drawInput(grid, found) {
    const [rows, columns] = [found.rows, found.columns];
    const [ys, xs] = [rows.taps[chosen[0]], columns.taps[chosen[1]]];
    const range = (axis, length) =>
      Array.from({ length: axis.low + length + axis.high + axis.overhang }, (_, i) => i - axis.low);
    const lines = range(rows, grid.length).map((y) =>
      range(columns, grid[0].length).map((x) => {
        const inside = grid[y]?.[x] !== undefined;
        const declared = y < grid.length + rows.high && x < grid[0].length + columns.high;
        const kind = inside ? "inside" : declared ? "padding" : "overhang";
        const taken = ys.includes(y) && xs.includes(x);
        return { text: inside ? grid[y][x] : "", kind: `${kind}${taken ? " taken" : ""}` };
      }),
    );
    draw("input", lines);
  }

  function drawOutput(found) {
    const lines = found.cells.map((cells, i) =>
      cells.map((cell, j) => ({
        text: shown(cell.value),
        kind: i === chosen[0] && j === chosen[1] ? "taken" : "inside",
        pressed: () => {
          if (chosen[0] === i && chosen[1] === j) return;
          chosen = [i, j];
          update();
          part("output").querySelectorAll("tr")[i].cells[j].focus();
        },
      })),
    );
    draw("output", lines);
  }

  function update() {
    const now = settings();
    root.querySelector(".pads").hidden = !Array.isArray(now.padding);
    const grid = numbers(...now.size);
    part("code").textContent = asPython(now);
    let found;
    try {
      found = poolGrid(grid, now);
    } catch (error) {
      part("size").textContent = error.message;
      part("cell").textContent = "";
      part("input").replaceChildren();
      part("output").replaceChildren();
      return;
    }
    chosen = chosen.map((place, a) => Math.min(place, found.shape[a] - 1));
    const { value, count, padded } = found.cells[chosen[0]][chosen[1]];
    part("size").textContent =
      `Output ${found.shape.join(" x ")}: rows are padded by (${found.rows.low}, ${found.rows.high}), ` +
      `columns by (${found.columns.low}, ${found.columns.high}).`;
    part("cell").textContent =
      `Cell (${chosen.join(", ")}) is ${shown(value)}: ${count} elements of the input, ` +
      `${padded} with the declared padding.`;
    drawInput(grid, found);
    drawOutput(found);
  }

  function slide() {
    const [rows, columns] = [part("output").querySelectorAll("tr").length, part("output").querySelector("tr")?.cells.length];
    if (!columns) return;
    const next = chosen[0] * columns + chosen[1] + 1;
    chosen = [Math.floor(next / columns) % rows, next % columns];
    update();
  }

  field("slide").addEventListener("click", () => {
    if (timer) clearInterval(timer);
    timer = timer ? null : setInterval(slide, 700);
    field("slide").textContent = timer ? "Stop" : "Slide";
  });
  field("again").addEventListener("click", () => {
    seed = (seed * 7919 + 13) % 2147483647;
    update();
  });
  root.addEventListener("input", update);
  update();
})();
