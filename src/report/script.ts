/**
 * The page's script: values under the pointer, the same step marked in every chart, and a slider through the sample grids. The page
 * says everything without it. Text from outside goes in through `textContent` alone.
 */
export const SCRIPT = `'use strict';
(() => {
  const format = (value) => {
    const size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace('e+', 'e');
    return value.toLocaleString('en-US', { maximumSignificantDigits: 4 });
  };
  const element = (tag, className, parent) => {
    const made = document.createElement(tag);
    made.className = className;
    parent.append(made);
    return made;
  };
  const nearest = (sorted, value) => {
    let low = 0, high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1; else high = middle;
    }
    return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
  };
  const isShown = (run) => document.getElementById('show-run-' + run)?.checked ?? true;

  const charts = [...document.querySelectorAll('.chart')].map((figure) => {
    const data = JSON.parse(figure.querySelector('script').textContent);
    const pointer = element('div', 'pointer', figure.querySelector('.plot'));
    const clear = () => pointer.replaceChildren();
    const show = (step, withTip) => {
      clear();
      const [from, to] = data.x;
      if (step < from || step > to) return;
      const isLog = data.log && document.getElementById('log-scale')?.checked;
      const [low, high] = isLog ? data.log : data.linear;
      const rows = [];
      let marked = step;
      for (const series of data.series) {
        if (!isShown(series.run) || step < series.x[0] || step > series.x.at(-1)) continue;
        const i = nearest(series.x, step);
        const y = series.y[i];
        const height = isLog ? Math.log(y / low) / Math.log(high / low) : (y - low) / (high - low);
        if (rows.length === 0) marked = series.x[i];
        rows.push([series, y]);
        if (height < 0 || height > 1) continue;
        const dot = element('i', 'dot run-' + series.run, pointer);
        dot.style.left = (series.x[i] - from) / (to - from) * 100 + '%';
        dot.style.top = (1 - height) * 100 + '%';
      }
      if (rows.length === 0) return;
      const share = (marked - from) / (to - from);
      element('i', 'rule', pointer).style.left = share * 100 + '%';
      if (!withTip) return;
      const tip = element('div', 'tip', pointer);
      if (share < 0.5) tip.style.left = 'calc(' + share * 100 + '% + 12px)';
      else tip.style.right = 'calc(' + (1 - share) * 100 + '% + 12px)';
      element('span', '', tip).textContent = 'Step ' + marked.toLocaleString('en-US');
      for (const [series, y] of rows) {
        const row = element('div', '', tip);
        if (data.series.length > 1) {
          element('i', 'swatch run-' + series.run, row);
          row.append(series.name + ' ');
        }
        element('b', '', row).textContent = format(y);
      }
    };
    const chart = { show, clear };
    const move = (event) => {
      const box = pointer.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const step = data.x[0] + share * (data.x[1] - data.x[0]);
      for (const other of charts) other.show(step, other === chart);
    };
    pointer.addEventListener('pointermove', move);
    pointer.addEventListener('pointerdown', move);
    pointer.addEventListener('pointerleave', () => { for (const other of charts) other.clear(); });
    return chart;
  });

  const gallery = document.querySelector('.gallery');
  const frames = gallery ? [...gallery.querySelectorAll('.frames figure')] : [];
  const steps = [...new Set(frames.map((frame) => Number(frame.dataset.step)))].sort((a, b) => a - b);
  if (steps.length > 1) {
    gallery.classList.add('stage');
    const timeline = document.createElement('div');
    timeline.className = 'timeline';
    const slider = element('input', '', timeline);
    slider.type = 'range';
    slider.min = '0';
    slider.max = String(steps.length - 1);
    slider.setAttribute('aria-label', 'Training step of the samples');
    const output = element('output', '', timeline);
    const choose = () => {
      const step = steps[Number(slider.value)];
      output.textContent = 'Step ' + step.toLocaleString('en-US');
      slider.setAttribute('aria-valuetext', output.textContent);
      for (const strip of gallery.querySelectorAll('.frames')) {
        const own = [...strip.children];
        const current = own[nearest(own.map((frame) => Number(frame.dataset.step)), step)];
        for (const frame of own) frame.classList.toggle('current', frame === current);
      }
    };
    slider.value = slider.max;
    slider.addEventListener('input', choose);
    gallery.querySelector('.grids').before(timeline);
    choose();
  }
})();`
