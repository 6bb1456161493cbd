"""Style and script of `lineage_page.py`. Everything is in the page: its policy lets it load nothing."""

from __future__ import annotations

from typing import Final

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5a5f68; --paper: #f6f5f1; --card: #fff; --line: #dedbd2;
  --mark: #b3261e; --anchor: #7a4fc4; --newest: #2f6fc9; --memory: #22804c; --reference: #9a640a; --other: #666; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #a8acb3; --paper: #17181b; --card: #202226;
  --line: #3a3d44; --mark: #ff8a80; --anchor: #b79cf0; --newest: #84b4f5; --memory: #6fcf97; --reference: #e5b25d;
  --other: #aaa; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 76rem; margin: auto; padding: 1rem 1.25rem; }
h1 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; max-height: 4.5em; overflow-y: auto; }
h2 { font-size: 1.2rem; margin: 0 0 .6rem; display: flex; justify-content: space-between; gap: 1rem; }
h2 span { display: flex; gap: .9rem; font-size: .9rem; font-weight: 400; } h3 { margin: 0 0 .6rem; font-size: 1.05rem; }
h4 { margin: 0; font-size: .85rem; letter-spacing: .03em; }
a { color: inherit; } header p, .soft, small, footer { color: var(--soft); } .soft, footer { font-size: .9rem; }
code { font-size: .85em; overflow-wrap: anywhere; } summary { cursor: pointer; color: var(--soft); }
.note { border-left: 3px solid var(--mark); padding-left: .7rem; }
nav { position: sticky; top: 0; z-index: 1; background: var(--paper); border-block: 1px solid var(--line); }
nav ol { list-style: none; display: flex; gap: .35rem; margin: 0; padding: .6rem 1.25rem; overflow-x: auto; }
nav li { flex: none; width: 6.5rem; } nav li.begins { border-left: 3px solid var(--mark); padding-left: .35rem;
  width: calc(6.85rem + 3px); }
nav a { display: block; padding: 3px; border: 2px solid transparent; border-radius: 7px; text-decoration: none; }
nav a span { font-size: .85rem; } a:focus-visible { outline: 3px solid var(--newest); outline-offset: 1px; }
nav a[aria-current] { border-color: var(--ink); background: var(--card); }
nav a.source { border-color: var(--memory); border-style: dashed; }
.shot { width: 100%; background: #000 center / cover no-repeat; image-rendering: pixelated; border-radius: 4px;
  print-color-adjust: exact; }
.shot.none { background: repeating-linear-gradient(45deg, var(--line) 0 6px, transparent 6px 12px); }
main section { display: none; gap: 1.5rem; grid-template-columns: minmax(0, 4fr) minmax(0, 5fr);
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.25rem;
  scroll-margin-top: 100vh; }
main section:target, main:not(:has(:target)) section:last-of-type { display: grid; }
@media (max-width: 46rem) { main section { grid-template-columns: minmax(0, 1fr); } }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.directions { font-size: 1.05rem; margin: .8rem 0; }
.budget { display: flex; gap: 2px; height: .8rem; } .budget i { border-radius: 3px; background: var(--kind); }
.shown p { margin: .25rem 0 .6rem; } .shown ul { list-style: none; padding: 0; margin: 0; display: grid; gap: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.shown li { border-left: 4px solid var(--kind); padding-left: .7rem; }
.shown li:has(figure + figure) { grid-column: 1 / -1; } .shown h4, dt { color: var(--kind); }
.views { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
figure { margin: 0; } figcaption { font-size: .85rem; color: var(--soft); }
.shown .rest { font-weight: 600; margin-top: .9rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .9rem; margin: 0; } dt { font-weight: 600; }
dd { margin: 0; }
.anchor { --kind: var(--anchor); } .newest { --kind: var(--newest); } .memory { --kind: var(--memory); }
.reference { --kind: var(--reference); } .other { --kind: var(--other); }
@media print { nav { display: none; } main section { display: grid; break-inside: avoid; margin-bottom: 1rem; } }
"""

SCRIPT: Final = """
const links = [...document.querySelectorAll('nav a')];
const sections = [...document.querySelectorAll('main section')];
function chosen() {
  const at = sections.findIndex(section => '#' + section.id === location.hash);
  return at < 0 ? sections.length - 1 : at;
}
function mark() {
  const at = chosen();
  if (at < 0) return;
  const shown = sections[at].dataset.shown.split(' ').map(number => '#s' + number);
  links.forEach((link, place) => {
    link.classList.toggle('source', place !== at && shown.includes(link.hash));
    if (place === at) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
  });
  if (links.includes(document.activeElement)) links[at].focus({ preventScroll: true });
  links[at].parentElement.parentElement.scrollLeft =
    links[at].parentElement.offsetLeft - document.documentElement.clientWidth / 2;
}
addEventListener('hashchange', mark);
addEventListener('keydown', event => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const next = sections[chosen() + by];
  if (next) { event.preventDefault(); location.hash = next.id; }
});
mark();
"""
