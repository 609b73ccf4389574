import { runRules } from './palette.ts'

/** The page's style sheet for so many runs. */
export function stylesheet(runs: number): string {
  const hidden = Array.from(
    { length: runs },
    (_, i) =>
      `body:has(#show-run-${i}:not(:checked)) :is(.matrix tr.run-${i}, .numbers tr.run-${i}, svg .run-${i}, .legend .run-${i}){display:none}`,
  )
  return `${LIGHT}
${runRules(runs, 'light')}
@media (prefers-color-scheme: dark) { @media not print { ${DARK} ${runRules(runs, 'dark')} } }
${LAYOUT}
${hidden.join('\n')}
${FORCED_COLOURS}
${PRINT}`
}

const LIGHT = `:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #ffffff; --ink: #1c1d20; --soft: #62656c; --line: #e3e3df; --grid: #ecece8; --accent: #0067a8; --raw: 0.24; --good: #00724f; --bad: #b3372a;
}`

const DARK = `:root {
  --page: #131416; --card: #1b1d20; --ink: #ececea; --soft: #9b9fa8; --line: #2d3035; --grid: #282b30; --accent: #5db8f0; --raw: 0.36; --good: #2fc796; --bad: #ff8f80;
}`

const LAYOUT = `
*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 400 1rem/1.5 ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Inter, Roboto, 'Helvetica Neue', Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 76rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
h1, h2, h3, p, figure, dl, dd { margin: 0; }
h1 { font-size: clamp(1.7rem, 1.2rem + 2.2vw, 2.6rem); line-height: 1.1; letter-spacing: -0.025em; font-weight: 680; overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 1.3rem; letter-spacing: -0.015em; font-weight: 640; line-height: 1.25; }
h3 { font-size: 0.95rem; font-weight: 620; line-height: 1.35; overflow-wrap: anywhere; }
.lead { color: var(--soft); margin-top: 0.6rem; max-width: 60ch; overflow-wrap: anywhere; }
section { margin-top: clamp(2rem, 4vw, 3.25rem); }
section > h2, section > header { margin-bottom: 0.9rem; }
section > h3 { margin-bottom: 0.6rem; color: var(--soft); }
header p, .remark { color: var(--soft); font-size: 0.9rem; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.swatch { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 3px; margin-right: 0.5em; background: var(--strength, var(--run)); -webkit-mask: var(--cut); mask: var(--cut); }

.headline { display: grid; gap: 0.75rem; margin-top: clamp(1.5rem, 3vw, 2.25rem); }
.tiles { display: flex; flex-wrap: wrap; gap: 1px; overflow: hidden; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.tile { display: flex; flex-direction: column; flex: 1 1 9rem; padding: 0.95rem 1.1rem 1rem; box-shadow: 0 0 0 1px var(--line); }
.tile .label { font-size: 0.8rem; color: var(--soft); overflow-wrap: anywhere; }
.tile .value { font-size: 1.45rem; line-height: 1.25; letter-spacing: -0.02em; font-weight: 620; white-space: nowrap; }
.tile .remark { font-size: 0.78rem; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { padding: 0.6rem 1rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); font-weight: 400; }
thead th { border-top: 0; color: var(--soft); font-size: 0.8rem; white-space: nowrap; }
tbody th { white-space: nowrap; }
.numbers :is(th, td) { padding-inline: 0.75rem; } .numbers :is(th, td):first-child { padding-left: 1.1rem; } .numbers :is(th, td):last-child { padding-right: 1.1rem; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; } .numbers td { white-space: nowrap; } .numbers :is(td, th).words:not(:first-child) { text-align: left; white-space: normal; min-width: 9rem; } .numbers td .remark { display: block; white-space: normal; min-width: 7rem; font-size: 0.8rem; }
.numbers tbody th { font-weight: 600; } .numbers tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--card); } .numbers thead th { white-space: normal; vertical-align: bottom; line-height: 1.3; }
caption { padding: 0.9rem 1.1rem 0.3rem; text-align: left; color: var(--soft); font-size: 0.85rem; overflow-wrap: anywhere; }
.settings td { overflow-wrap: anywhere; min-width: 8rem; }

.controls { display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0; padding: 0; border: 0; }
.controls label, .reset { display: inline-flex; align-items: center; padding: 0.28rem 0.8rem; border: 1px solid var(--line);
  border-radius: 99px; background: var(--card); font-size: 0.85rem; cursor: pointer; user-select: none; overflow-wrap: anywhere; }
.controls label:has(input:not(:checked)) { color: var(--soft); background: none; }
.controls label:has(input:not(:checked)) .swatch { background: none; box-shadow: inset 0 0 0 1.5px var(--run); }
.controls label:not(:has(.swatch)):has(:checked) { border-color: var(--accent); color: var(--accent); }
.controls label:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: 2px; }
.controls input { position: absolute; opacity: 0; pointer-events: none; }
.controls .reset { color: var(--accent); border-color: var(--accent); font: inherit; font-size: 0.85rem; }
.curves > header { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: center; justify-content: space-between; }
.measure + .measure, section > .charts + *, section > .card + * { margin-top: 1.6rem; } .measure > .remark, details > .remark { margin: 0.2rem 0 0.8rem; max-width: 100ch; }
.measure > h3 { font-size: 1.05rem; }
.charts { display: grid; grid-template-columns: repeat(6, 1fr); gap: 1rem; }
.full { grid-column: span 6; } .half { grid-column: span 3; } .third { grid-column: span 2; }
.chart { display: flex; flex-direction: column; padding: 1rem 1.1rem 0.8rem 0.6rem; min-width: 0; position: relative; }
.chart figcaption { flex: 1; padding-left: 0.5rem; margin-bottom: 0.9rem; }
.chart figcaption p { color: var(--soft); font-size: 0.82rem; line-height: 1.4; overflow-wrap: anywhere; }
.chart { --labels: max(3.1rem, calc(var(--digits) * 1ch + 0.8rem)); }
.plot { display: grid; grid-template: 13rem 1.5rem / var(--labels) 1fr; position: relative; font-size: 0.76rem; color: var(--soft); }
.full .plot { grid-template-rows: clamp(14rem, 32vw, 22rem) 1.5rem; }
.plot svg { grid-area: 1 / 2; width: 100%; height: 100%; display: block; overflow: hidden; }
.measured .plot svg { overflow: visible; clip-path: inset(-5px); }
.y-title, .x-title { font-size: 0.76rem; color: var(--soft); line-height: 1.3; }
.y-title { margin: 0 0 0.75rem 0.5rem; } .x-title { text-align: center; margin: 0.1rem 0 0 var(--labels); }
.y-labels { grid-area: 1 / 1; position: relative; }
.y-labels span { position: absolute; right: 0.6rem; transform: translateY(-50%); white-space: nowrap; }
.x-labels { grid-area: 2 / 2; position: relative; }
.x-labels span { position: absolute; top: 0.4rem; transform: translateX(-50%); white-space: nowrap; }
.x-labels span.end { transform: translateX(calc(-100% + 0.7rem)); }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.grid { stroke: var(--grid); stroke-width: 1; }
.raw { stroke: var(--run); stroke-width: 1; opacity: var(--raw); }
.trend { stroke: var(--run); stroke-width: 2; stroke-dasharray: var(--dash); }
.point { stroke-width: 7; stroke-dasharray: none; }
.measured .raw { stroke: var(--strength); stroke-width: 7; opacity: 1; } .measured .trend { stroke: var(--strength); } .measured .point { stroke-width: 0; }
.age-0 { --strength: var(--run); } .age-1 { --strength: color-mix(in oklab, var(--run) 80%, var(--card)); }
.age-2 { --strength: color-mix(in oklab, var(--run) 66%, var(--card)); } .age-3 { --strength: color-mix(in oklab, var(--run) 54%, var(--card)); }
/* Of a run's ways of sampling all but the first. */
.dash-1, .dash-2, .dash-3 { --cut: none; }
.dash-1 { --dash: 7 6; --key: 5px, transparent 5px 8px; } .dash-2 { --dash: 1 6; --key: 2px, transparent 2px 5px; } .dash-3 { --dash: 12 6 1 6; --key: 9px, transparent 9px 12px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; margin: 0.5rem 0 0; padding: 0; font-size: 0.82rem; }
:is(.measure, details) > .legend { margin: 0 0 0.8rem; }
.legend li { display: inline-flex; align-items: center; gap: 0.45rem; overflow-wrap: anywhere; }
.legend .key { flex: none; width: 1.1rem; height: 3px; border-radius: 2px; background: var(--strength); -webkit-mask: var(--cut); mask: var(--cut); }
.legend .key:is(.dash-1, .dash-2, .dash-3) { background: repeating-linear-gradient(90deg, var(--strength) 0 var(--key)); }
body:has(#show-raw:not(:checked)) .noisy .raw { display: none; }
.references { grid-area: 1 / 2; position: relative; pointer-events: none; }
.reference { position: absolute; inset-inline: 0; border-top: 1.5px dashed var(--soft); opacity: 0.8; }
.reference span { position: absolute; right: 0.3rem; bottom: 0.15rem; line-height: 1.2; text-shadow: 0 0 3px var(--card), 0 0 3px var(--card), 0 0 3px var(--card); }
.reference.below span { bottom: auto; top: 0.2rem; }
html:not(.scripted) .scripted-only { display: none; }
.pointer { grid-area: 1 / 2; position: relative; touch-action: pan-y; cursor: crosshair; user-select: none; -webkit-user-select: none; }
.pointer:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; } .pointer > * { pointer-events: none; }
.pointer .rule { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--soft); opacity: 0.5; }
.pointer .band { position: absolute; top: 0; bottom: 0; background: var(--accent); opacity: 0.14; }
.pointer .dot { position: absolute; width: 10px; height: 10px; margin: -5px; border-radius: 50%; background: var(--strength); border: 2px solid var(--card); }
.tip { position: absolute; z-index: 2; top: 0.25rem; width: max-content; max-width: min(22rem, 78vw); padding: 0.45rem 0.7rem; border-radius: 8px; background: var(--card); color: var(--ink);
  border: 1px solid var(--line); box-shadow: 0 4px 16px rgb(0 0 0 / 0.14); font-size: 0.82rem; line-height: 1.5; overflow-wrap: anywhere; }
.tip.low { top: auto; bottom: 0.25rem; }
.tip b { font-weight: 620; } .tip span { color: var(--soft); }

.live { display: inline-flex; align-items: center; gap: 0.45em; margin-left: 0.6em; color: var(--good); }
.live::before { content: ''; width: 0.55em; height: 0.55em; border-radius: 50%; background: currentColor; }
.live.trouble { color: var(--bad); }

.card.strip { min-width: 0; padding: 1rem; }
.matrix table { width: 100%; } .matrix th, .matrix td { border: 0; padding: 0.35rem; vertical-align: middle; }
.matrix thead th { padding-top: 0.8rem; text-align: center; } .matrix td:last-child, .matrix thead th:last-child { padding-right: 0.9rem; }
.matrix tbody tr:last-child > * { padding-bottom: 0.9rem; }
.matrix tbody th, .matrix thead th:first-child { position: sticky; left: 0; z-index: 1; background: var(--card); white-space: nowrap; font-weight: 600; font-size: 0.85rem;
  width: 1%; padding-inline: 0.9rem 0.6rem; }
.run-name { display: inline-block; white-space: normal; width: max-content; max-width: 8rem; overflow-wrap: anywhere; vertical-align: top; }
.numbers .run-name { max-width: min(20rem, 34vw); }
:is(.matrix, .numbers) .swatch { margin-top: 0.35em; vertical-align: top; }
.matrix .cell { width: 100%; min-width: 6.5rem; max-width: 18rem; margin-inline: auto; overflow: hidden; border-radius: 6px; background: var(--grid); }
.matrix img { display: block; width: 100%; max-width: none; height: auto; transform-origin: 0 0; }
.matrix img, .frames img { cursor: zoom-in; } :is(.matrix, .frames) img:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; } .small { image-rendering: pixelated; }
.matrix.one .cell { min-width: 5rem; max-width: 10rem; }
.tiles-choice { margin-bottom: 0.8rem; gap: 0.35rem; }
.enlarged { border: 0; padding: 0; background: none; color: #fff; max-width: none; max-height: none; text-align: center; cursor: zoom-out; }
.enlarged::backdrop { background: rgb(0 0 0 / 0.8); }
.enlarged img { width: min(92vw, 84vh); height: auto; border-radius: 6px; } .enlarged p { margin-top: 0.4rem; font-size: 0.9rem; }
.frames { display: flex; gap: 1rem; overflow-x: auto; scroll-snap-type: x proximity; padding-bottom: 0.4rem; }
.frames figure { flex: 0 0 auto; width: min(20rem, 80%); scroll-snap-align: start; }
.frames figure:only-child { width: min(100%, 40rem); margin-inline: auto; }
.frames img { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--grid); }
.frames figcaption { margin-top: 0.45rem; font-size: 0.82rem; color: var(--soft); }
.stage .frames { display: block; overflow: visible; padding: 0; }
.stage .frames figure { width: min(100%, 40rem); margin-inline: auto; }
.stage .frames figure:not(.current) { display: none; }
.timeline { display: flex; gap: 1rem; align-items: center; margin-bottom: 1rem; font-size: 0.9rem; }
.timeline input { flex: 1; min-width: 0; max-width: 34rem; accent-color: var(--accent); height: 1.6rem; }
.timeline output { min-width: 7.5rem; font-weight: 600; }

.sections { columns: 23rem; column-gap: 1rem; }
.section { break-inside: avoid; padding: 0.9rem 1.1rem 0.5rem; margin-bottom: 1rem; }
.section h3 { margin-bottom: 0.35rem; }
.section:has(dl > :nth-child(13)) { column-span: all; margin-block: 1rem; } .section:has(dl > :nth-child(13)) dl { columns: 20rem; column-gap: 2.4rem; } .section dl div { break-inside: avoid; }
dl div { display: flex; justify-content: space-between; gap: 1.5rem; padding: 0.36rem 0; border-top: 1px solid var(--grid); font-size: 0.88rem; }
dt { color: var(--soft); max-width: 55%; overflow-wrap: break-word; }
dd { text-align: right; overflow-wrap: anywhere; min-width: 30%; }
.absent { color: var(--soft); font-style: italic; }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); font-size: 0.95rem; padding: 0.2rem 0; margin-bottom: 0.8rem; }
.empty { padding: 1.4rem 1.2rem; color: var(--soft); }
footer { margin-top: 3.5rem; color: var(--soft); font-size: 0.8rem; }
@media (max-width: 60rem) { .third, .half { grid-column: span 3; } .charts > :last-child:nth-child(odd of .half, .third) { grid-column: span 6; } }
@media (max-width: 44rem) { .charts > figure { grid-column: span 6; } }
@media (max-width: 34rem) {
  .chart { --labels: max(2.7rem, calc(var(--digits) * 1ch + 0.8rem)); padding-right: 0.9rem; }
  .x-labels:has(:nth-child(6)) span:nth-child(even) { display: none; }
  .tile { padding: 0.8rem 0.9rem; } .tile .value { font-size: 1.3rem; }
  .tile { flex-basis: 40%; }
  .matrix tbody th, .matrix thead th:first-child { padding-inline: 0.7rem 0.4rem; } .matrix .run-name { max-width: 5.5rem; }
}`

/** A palette of the reader's own (Windows' contrast themes) takes every background away: also those that say which line is whose. */
const FORCED_COLOURS = `@media (forced-colors: active) {
  .swatch, .key, .dot { forced-color-adjust: none; }
  .pointer .rule { background: CanvasText; } .pointer .band { background: Highlight; }
  .controls label:has(:checked) { border-color: Highlight; box-shadow: none; outline: 1px solid Highlight; }
  .controls label:has(:focus-visible) { outline: 3px solid CanvasText; }
}`

const PRINT = `@media print {
  @page { margin: 14mm; }
  body { background: none; font-size: 10pt; } main { padding: 0; max-width: none; }
  /* Which colour is whose is said by backgrounds, which browsers leave out of what they print, and beside the check boxes. */
  .swatch, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .controls > :not(:has(.swatch)), .controls label:has(input:not(:checked)), .timeline { display: none; }
  .controls label:has(.swatch) { border: 0; padding: 0; background: none; }
  .charts { display: block; } .strip { margin-bottom: 1rem; }
  .charts > figure { display: inline-flex; width: 49%; margin: 0 0.4% 0.8rem 0; vertical-align: top; } .charts > .full { width: 98.8%; }
  .card, .tile { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } .numbers { font-size: 8pt; } .numbers :is(th, td) { padding-inline: 0.4rem; }
  details::details-content { content-visibility: visible; height: auto; } .charts .plot { grid-template-rows: 9rem 1.5rem; } .strip { break-inside: auto; }
  .frames, .stage .frames { display: flex; flex-wrap: wrap; overflow: visible; }
  .frames figure, .stage .frames figure, .stage .frames figure:not(.current) { display: block; width: 22%; margin: 0; break-inside: avoid; }
  .sections { columns: 2; }
}`
