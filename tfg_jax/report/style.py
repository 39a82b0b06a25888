"""The one style sheet of reports: follows the reader's light or dark setting, prints well, needs nothing else."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5f6670; --box: #f4f5f7; --rule: #d8dbe0;
  --alert: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8eaed; --faint: #a3abb5; --box: #212429;
  --rule: #3a3f46; --alert: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .9rem; margin: .3rem 0; }
p { max-width: 46rem; }
.warning { border-left: 4px solid var(--alert); padding: .3rem .8rem; background: var(--box); }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .7rem; margin: 0; }
.numbers div { background: var(--box); border-radius: .5rem; padding: .6rem .8rem; }
.numbers dt { color: var(--faint); font-size: .85rem; }
.numbers dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; white-space: nowrap; color: var(--faint); padding-bottom: .3rem; }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: left; white-space: nowrap; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: .6rem 0; }
figcaption { color: var(--faint); font-size: .88rem; max-width: 46rem; }
img { max-width: 100%; height: auto; image-rendering: pixelated; }
.chart { display: block; width: 100%; max-width: 42rem; height: auto; }
.cards { list-style: none; padding: 0; display: grid; gap: .7rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.cards li { background: var(--box); border: 1px solid var(--rule); border-radius: .5rem; padding: .6rem; }
.cards li.flagged { border-color: var(--alert); }
.cards img { display: block; width: 100%; }
.cards dl { margin: 0; font-size: .8rem; }
.cards dl div { display: flex; justify-content: space-between; gap: .5rem; }
.cards dt { color: var(--faint); }
.cards dd { margin: 0; text-align: right; }
.flag { color: var(--alert); font-size: .8rem; font-weight: 600; margin: .3rem 0 0; }
pre { background: var(--box); padding: .8rem; border-radius: .5rem; overflow-x: auto; font-size: .85rem; }
@media print { .cards li, figure, table { break-inside: avoid; } }
"""
