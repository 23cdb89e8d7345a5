// Prints how far the gradient of a loss with a penalty is from differences, and what a short training gives.
import { readFileSync } from 'node:fs';
import { Gan } from '../../../service/static/play/lab/gan1d.mjs';

const { steps, rate, gamma, objective } = JSON.parse(readFileSync(0, 'utf8'));
const { D } = new Gan({ seed: 1 });
const [onValue, onTangent] = [0.7, 1.3];
const loss = () => {
  const { x, t } = D.forward([0.37], [1]).at(-1);
  return onValue * x[0] + 0.5 * onTangent * t[0] ** 2;
};
const trace = D.forward([0.37], [1]);
D.backward(trace, onValue, onTangent * trace.at(-1).t[0]);
const gradient = D.gradient.slice();
let worst = 0;
for (let place = 0; place < D.values.length; place += 7) {
  const value = D.values[place], step = 1e-6;
  D.values[place] = value + step;
  const above = loss();
  D.values[place] = value - step;
  const below = loss();
  D.values[place] = value;
  worst = Math.max(worst, Math.abs((above - below) / (2 * step) - gradient[place]));
}

const gan = new Gan({ seed: 0 });
for (let step = 0; step < steps; step++) gan.step({ rate, gamma, objective });
const points = gan.points(2000), mean = points.reduce((sum, x) => sum + x, 0) / points.length;
const sd = Math.sqrt(points.reduce((sum, x) => sum + (x - mean) ** 2, 0) / points.length);
console.log(JSON.stringify({ worst, largest: Math.max(...gradient.map(Math.abs)), mean, sd }));
