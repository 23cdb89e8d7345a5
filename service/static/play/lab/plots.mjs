// The drawings of one tick, on a square canvas.
// `look` has the canvas's context, its side in pixels, the colours, and which of the layers are shown.

// Points of a plane, D as a tint over it, and where the generator takes a lattice of latents.
export function drawPlane({ paint, side, ink, made, tint, shown }, { real, points, judge, manifold }) {
  if (shown.judge) {
    const cells = Math.round(Math.sqrt(judge.length)), image = new ImageData(cells, cells);
    judge.forEach((value, cell) => {
      const row = cells - 1 - Math.floor(cell / cells), place = 4 * (row * cells + cell % cells);
      image.data.set([...tint, 20 + 145 * value], place);
    });
    const small = new OffscreenCanvas(cells, cells);
    small.getContext('2d').putImageData(image, 0, 0);
    paint.drawImage(small, 0, 0, side, side);
  }
  const place = (list, k) => [list[2 * k] * side, (1 - list[2 * k + 1]) * side];
  if (shown.manifold && manifold.length) {
    const cells = Math.round(Math.sqrt(manifold.length / 2));
    paint.strokeStyle = made;
    paint.lineWidth = 1.5;
    paint.beginPath();
    for (let row = 0; row < cells; row++) {
      for (let column = 0; column < cells; column++) {
        const here = place(manifold, row * cells + column);
        if (column) { paint.moveTo(...place(manifold, row * cells + column - 1)); paint.lineTo(...here); }
        if (row) { paint.moveTo(...place(manifold, (row - 1) * cells + column)); paint.lineTo(...here); }
      }
    }
    paint.stroke();
  }
  const dots = (list, draw) => { for (let k = 0; k < list.length / 2; k++) { paint.beginPath(); paint.arc(...place(list, k), 5, 0, 2 * Math.PI); draw(); } };
  paint.strokeStyle = ink;
  paint.lineWidth = 1.5;
  if (shown.real) dots(real, () => paint.stroke());
  paint.fillStyle = made;
  if (shown.points) dots(points, () => paint.fill());
}

// A smooth histogram: each point is a small bell.
function density(points, columns, width) {
  const heights = new Float64Array(columns);
  for (const point of points) {
    const from = Math.max(0, Math.floor((point - 3 * width) * columns)), to = Math.min(columns - 1, Math.ceil((point + 3 * width) * columns));
    for (let column = from; column <= to; column++) heights[column] += Math.exp(-0.5 * (((column + 0.5) / columns - point) / width) ** 2);
  }
  return heights.map((height) => height / (points.length * width * Math.sqrt(2 * Math.PI)));
}

// Densities along a line, and D as a curve above them.
export function drawLine({ paint, side, ink, made, accent, shown }, { real, points, judge, view: { low, high } }) {
  const columns = 180, curves = [real, points].map((list) => density(list, columns, 0.022));
  const top = Math.max(...curves[0]) * 1.6;
  const path = (heights, scale) => {
    paint.beginPath();
    heights.forEach((height, column) => paint.lineTo((column + 0.5) / heights.length * side, side - height * scale * side));
  };
  if (shown.points) {
    path(curves[1], 0.9 / top);
    paint.lineTo(side, side); paint.lineTo(0, side);
    paint.globalAlpha = 0.55; paint.fillStyle = made; paint.fill(); paint.globalAlpha = 1;
  }
  paint.lineWidth = 3;
  if (shown.real) { path(curves[0], 0.9 / top); paint.strokeStyle = ink; paint.stroke(); }
  if (shown.judge) { path(judge.map((value) => 0.62 + 0.34 * value), 1); paint.strokeStyle = accent; paint.stroke(); }
  paint.font = '26px sans-serif';
  paint.fillStyle = ink;
  const step = [1, 2, 5, 10, 20, 50].find((width) => (high - low) / width < 9) ?? 100;
  for (let number = Math.ceil(low / step) * step; number <= high; number += step) {
    const x = (number - low) / (high - low) * side;
    paint.fillRect(x - 1, side - 12, 3, 12);
    paint.fillText(number + 0, x - paint.measureText(number + 0).width / 2, side - 20);
  }
}

// A PNG of grey pictures as a canvas of their shapes: white is opaque and black is clear.
export async function toMask(png) {
  const bitmap = await createImageBitmap(new Blob([png], { type: 'image/png' }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), paint = canvas.getContext('2d');
  paint.drawImage(bitmap, 0, 0);
  const image = paint.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 0; place < image.data.length; place += 4) image.data[place + 3] = image.data[place];
  paint.putImageData(image, 0, 0);
  return canvas;
}

function coloured(mask, colour) {
  const canvas = new OffscreenCanvas(mask.width, mask.height), paint = canvas.getContext('2d');
  paint.drawImage(mask, 0, 0);
  paint.globalCompositeOperation = 'source-in';
  paint.fillStyle = colour;
  paint.fillRect(0, 0, mask.width, mask.height);
  return canvas;
}

// A row of real pictures and rows of generated ones, D as a tint behind each, and the outline of the triangle nearest to it.
export function drawSheet({ paint, side, ink, made, line, tint, shown }, { real, points, judge, manifold, distances, view }) {
  const cell = side / view.columns, margin = 5, inner = cell - 2 * margin;
  const corner = (k) => [(k % view.columns) * cell + margin, Math.floor(k / view.columns) * cell + margin];
  if (shown.judge) {
    judge.forEach((value, k) => {
      paint.fillStyle = `rgb(${tint.join(' ')} / ${0.06 + 0.5 * value})`;
      paint.fillRect(...corner(k), inner, inner);
    });
  }
  const place = (mask, colour, first) => {
    const shapes = coloured(mask, colour), count = view.columns * mask.height / view.side;
    for (let k = 0; k < count; k++) {
      const x = (k % view.columns) * view.side, y = Math.floor(k / view.columns) * view.side;
      paint.drawImage(shapes, x, y, view.side, view.side, ...corner(first + k), inner, inner);
    }
  };
  paint.imageSmoothingEnabled = false;
  if (shown.real) place(real, ink, 0);
  if (shown.points) place(points, made, view.columns);
  paint.imageSmoothingEnabled = true;
  if (shown.manifold) {
    paint.strokeStyle = ink;
    paint.lineWidth = 3;
    distances.forEach((distance, k) => {
      const [left, top] = corner(view.columns + k);
      paint.beginPath();
      for (let n = 6 * k; n < 6 * k + 6; n += 2) paint.lineTo(left + manifold[n] * inner, top + manifold[n + 1] * inner);
      paint.closePath();
      paint.setLineDash(distance <= 0.5 ? [] : [8, 8]);
      paint.stroke();
    });
    paint.setLineDash([]);
  }
  paint.strokeStyle = line;
  paint.lineWidth = 2;
  paint.beginPath();
  paint.moveTo(0, cell);
  paint.lineTo(side, cell);
  paint.stroke();
}
